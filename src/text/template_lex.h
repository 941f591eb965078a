/* A chat template's text, cut into tokens as Jinja2 cuts it with trim_blocks and lstrip_blocks. */
#ifndef QA_TEXT_TEMPLATE_LEX_H
#define QA_TEXT_TEMPLATE_LEX_H

#include "text/template_ast.h"

/* An operator of one character is that character. */
typedef enum qa_token_type {
    QA_TOKEN_END,
    QA_TOKEN_DATA = 256,
    QA_TOKEN_VARIABLE_BEGIN,
    QA_TOKEN_VARIABLE_END,
    QA_TOKEN_BLOCK_BEGIN,
    QA_TOKEN_BLOCK_END,
    QA_TOKEN_NAME,
    QA_TOKEN_STRING, /* value */
    QA_TOKEN_NUMBER, /* value: int or float */
    QA_TOKEN_POWER,  /* ** */
    QA_TOKEN_FLOOR,  /* // */
    QA_TOKEN_EQUAL,
    QA_TOKEN_UNEQUAL,
    QA_TOKEN_AT_MOST,
    QA_TOKEN_AT_LEAST,
    QA_TOKEN_IN, /* no tokens, but operators of a comparison */
    QA_TOKEN_NOT_IN,
} qa_token_type;

typedef struct qa_template_token {
    int type;
    uint32_t line;
    const char *text; /* [bytes], within the template's heap */
    size_t bytes;
    qa_tv value;
} qa_template_token;

/* All tokens, the last one being QA_TOKEN_END. The text is valid UTF-8. */
const qa_template_token *qa_template_tokens(qa_parse *parse, const char *text, size_t bytes);

/* A string of the template itself, in its heap. */
qa_tv qa_template_string(qa_parse *parse, const char *data, size_t n);

/* str.isspace of a code point: white space, and the four separators U+001C to U+001F. */
bool qa_template_is_space(uint32_t code);

#endif
