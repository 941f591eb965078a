/* The variable `loop` of a for statement, which also does its walking. */
#ifndef QA_TEXT_TEMPLATE_LOOP_H
#define QA_TEXT_TEMPLATE_LOOP_H

#include "text/template_value.h"

typedef struct qa_tv_loop {
    qa_tv_iterator *source;
    int64_t index0; /* -1 in front of the first value */
    qa_tv before, current;
    qa_tv after;      /* QA_TV_MISSING: not looked at yet */
    bool ended;       /* there is nothing after the current value */
    qa_tv_list *rest; /* what loop.length read ahead; NULL */
    size_t rest_at;
    size_t length; /* SIZE_MAX: not known yet */
    qa_tv changed; /* what loop.changed() was given last */
} qa_tv_loop;

/* over: what is walked; source: an iterator on it, which may leave values out. */
qa_tv_loop *qa_tv_new_loop(qa_tv_run *run, qa_tv over, qa_tv_iterator *source, bool filtered);
/* On to the next value; false at the end. */
bool qa_tv_loop_next(qa_tv_run *run, qa_tv_loop *loop, qa_tv *value);
/* index, first, last, previtem, cycle...; QA_TV_MISSING: it has no such attribute. */
qa_tv qa_tv_loop_attribute(qa_tv_run *run, qa_tv_loop *loop, const qa_tv_string *name);

#endif
