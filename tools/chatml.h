/* What the tokenizers written by the tools have in common: the ChatML template, and how tokenizer.json lists a special
 * token. */
#ifndef CHATML_H
#define CHATML_H

#include <jansson.h>

static const char CHATML[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
                             "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
                             "'<|im_start|>assistant\n' }}{% endif %}";

/* An entry of added_tokens; NULL when out of memory. */
static json_t *special_token(size_t id, const char *content) {
    return json_pack("{s:I,s:s,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)id, "content", content, "single_word", 0,
                     "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

#endif
