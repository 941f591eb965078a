/* The values of a chat template's expressions. */
#ifndef QA_TEXT_TEMPLATE_EVAL_H
#define QA_TEXT_TEMPLATE_EVAL_H

#include "text/template_ast.h"
#include "text/template_bind.h"

/* A call of a macro, or the template's own run: its variables, and those of the functions around it. */
typedef struct qa_tv_frame {
    struct qa_tv_frame *outer;
    qa_tv *slots;
} qa_tv_frame;

/* block: the text that a filter without a value in front of it is given; NULL elsewhere. */
qa_tv qa_template_eval(qa_tv_run *run, qa_tv_frame *here, const qa_node *node, const qa_tv *block);
/* The value of a call; `caller` is one more named argument, or NULL. */
qa_tv qa_template_eval_call(qa_tv_run *run, qa_tv_frame *here, const qa_node *node, const qa_tv *caller);

static inline qa_tv *qa_template_slot(qa_tv_frame *here, qa_slot slot) {
    for (uint32_t i = 0; i < slot.outwards; i++) {
        here = here->outer;
    }
    return &here->slots[slot.index];
}

#endif
