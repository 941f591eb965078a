/* See counted_match.h. */
#include "text/counted_match.h"

/* A backreference compares up to the whole text without telling how far it came. */
enum { BYTES_COMPARED_PER_UNIT = 64, LARGEST_JIT_BYTES = 1 << 15 };

typedef struct counter {
    qa_text_work *work;
    size_t last;     /* where the last call back stood */
    size_t per_item; /* units */
} counter;

static int on_item(pcre2_callout_block *block, void *user) {
    counter *c = user;
    const size_t at = block->current_position;
    const size_t moved = at > c->last ? at - c->last : c->last - at;
    c->last = at;
    return qa_text_work_spend(c->work, c->per_item + moved) ? 0 : PCRE2_ERROR_CALLOUT;
}

void qa_counted_prepare(pcre2_code *code) {
    size_t bytes = 0;
    if (pcre2_pattern_info(code, PCRE2_INFO_SIZE, &bytes) == 0 && bytes <= LARGEST_JIT_BYTES) {
        /* Where there is no just-in-time compiler, matching is interpreted. */
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    }
}

int qa_counted_match(const pcre2_code *code, const char *text, size_t n, size_t from, uint32_t options,
                     pcre2_match_data *data, pcre2_match_context *context, qa_text_work *work) {
    uint32_t references = 0;
    (void)pcre2_pattern_info(code, PCRE2_INFO_BACKREFMAX, &references);
    counter c = {.work = work, .last = from, .per_item = 1 + (references > 0 ? n / BYTES_COMPARED_PER_UNIT : 0)};
    (void)pcre2_set_callout(context, on_item, &c);
    PCRE2_SPTR subject = (PCRE2_SPTR)(n == 0 ? "" : text);
    int result = pcre2_match(code, subject, n, from, options, data, context);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) { /* the interpreter keeps its state on the heap */
        c.last = from;
        result = pcre2_match(code, subject, n, from, options | PCRE2_NO_JIT, data, context);
    }
    (void)pcre2_set_callout(context, NULL, NULL);
    return result;
}
