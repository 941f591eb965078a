/* Something to serve without a model: a byte tokenizer that puts <s> in front of texts, ChatML, two adapters that
 * nobody looks into. For tests of the protocol. */
#ifndef QA_TESTS_SERVED_H
#define QA_TESTS_SERVED_H

#include "serve/served.h"

enum { SERVED_VOCAB = 260, SERVED_CONTEXT = 64, SERVED_BYTE = 4 }; /* byte b is the id SERVED_BYTE + b */

/* Made once for the process; what fails fails the running test. */
const qa_served *qa_test_served(void);

#endif
