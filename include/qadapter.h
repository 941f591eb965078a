/* qadapter: customised language models by residual Q-learning.
 *
 * One include for the whole public library. Handles are opaque; every function that can fail returns a
 * qa_status and takes a qa_error; nothing prints or exits. Numbers cross this interface as double, in
 * nats and tokens, whatever precision the library was built in. */
#ifndef QADAPTER_H
#define QADAPTER_H

#include "qadapter/buffer.h"
#include "qadapter/data.h"
#include "qadapter/infer.h"
#include "qadapter/model.h"
#include "qadapter/objective.h"
#include "qadapter/pretrain.h"
#include "qadapter/status.h"
#include "qadapter/suite.h"
#include "qadapter/text.h"
#include "qadapter/train.h"

#endif
