/* Python's two ways of putting values into a text: "%s" % value, and "{}".format(value). */
#ifndef QA_TEXT_TEMPLATE_FORMAT_H
#define QA_TEXT_TEMPLATE_FORMAT_H

#include "text/template_bind.h"

/* format % value; a tuple is several values, a dict names them. */
qa_tv qa_tv_percent(qa_tv_run *run, const qa_tv_string *format, qa_tv value);
/* format.format(...). Fields that go into values ({0.name}, {0[name]}) are not supported. */
qa_tv qa_tv_format(qa_tv_run *run, const qa_tv_string *format, const qa_tv_call *call);

#endif
