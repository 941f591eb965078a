/* From a chat template's tokens to its tree: expressions (template_parse.c) and statements (template_statements.c). */
#ifndef QA_TEXT_TEMPLATE_PARSE_H
#define QA_TEXT_TEMPLATE_PARSE_H

#include "text/template_lex.h"

enum { QA_TEMPLATE_NESTING = 100 }; /* brackets, blocks and operators within each other */

typedef struct qa_parser {
    qa_parse *parse;
    const qa_template_token *token; /* the next one */
    unsigned nesting, loops;        /* loops: around this place, within one function */
} qa_parser;

static inline bool qa_parser_at(const qa_parser *parser, int type) { return parser->token->type == type; }
static inline bool qa_token_is(const qa_template_token *token, const char *word) {
    return token->type == QA_TOKEN_NAME && token->bytes == strlen(word) && memcmp(token->text, word, token->bytes) == 0;
}
static inline bool qa_parser_at_word(const qa_parser *parser, const char *word) {
    return qa_token_is(parser->token, word);
}
/* Takes the token if it is this one. */
bool qa_parser_skip(qa_parser *parser, int type);
bool qa_parser_skip_word(qa_parser *parser, const char *word);
const qa_template_token *qa_parser_expect(qa_parser *parser, int type, const char *what);
/* Says what stands here instead of `expected`. */
_Noreturn void qa_parser_unexpected(const qa_parser *parser, const char *expected);
/* Around what nests. */
void qa_parser_enter(qa_parser *parser);
static inline void qa_parser_leave(qa_parser *parser) { parser->nesting--; }

qa_node *qa_parser_node(qa_parser *parser, qa_node_kind kind, uint32_t line, qa_node *a, qa_node *b, qa_node *c);
void qa_parser_add(qa_parser *parser, qa_node *node, qa_node *item);

qa_node *qa_parse_expression(qa_parser *parser); /* with "a if b else c" */
qa_node *qa_parse_tuple(qa_parser *parser,
                        bool with_condition); /* ends at ")", at the end of the tag, or at no comma */
/* What can be assigned to: names, tuples of them, name.attribute where members is set. Ends at "in" too. */
qa_node *qa_parse_target(qa_parser *parser, bool members);
qa_node *qa_parse_name(qa_parser *parser); /* a name that is assigned to */
/* The filters that follow, on `node`, which is NULL in front of a block's text. */
qa_node *qa_parse_filters(qa_parser *parser, qa_node *node, bool first_without_bar);

/* The whole template: a QA_NODE_BLOCK. */
qa_node *qa_parse_template(qa_parser *parser);

#endif
