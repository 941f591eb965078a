/* The statements of template_parse.h: what stands between {% and %}, and the text around them. */
#include "text/template_parse.h"

typedef qa_node *(*statement_parser)(qa_parser *parser, uint32_t line);

static qa_node *parse_body(qa_parser *parser, const char *const ends[]);

static const char *const END_FOR[] = {"endfor", NULL}, *const END_FOR_ELSE[] = {"endfor", "else", NULL},
                         *const END_IF[] = {"endif", NULL}, *const END_IF_ELSE[] = {"elif", "else", "endif", NULL},
                         *const END_SET[] = {"endset", NULL}, *const END_MACRO[] = {"endmacro", NULL},
                         *const END_CALL[] = {"endcall", NULL}, *const END_FILTER[] = {"endfilter", NULL},
                         *const END_WITH[] = {"endwith", NULL}, *const END_GENERATION[] = {"endgeneration", NULL};

static qa_node *scoped(qa_parser *parser, qa_node_kind kind, uint32_t line) {
    qa_node *node = qa_parser_node(parser, kind, line, NULL, NULL, NULL);
    node->scope = QA_HEAP_NEW(parser->parse->heap, qa_scope, 1);
    return node;
}

/* The statements up to one of the words `ends`, at which the parser then stands; a colon may stand in front. */
static qa_node *parse_block(qa_parser *parser, const char *const ends[]) {
    (void)qa_parser_skip(parser, ':');
    (void)qa_parser_expect(parser, QA_TOKEN_BLOCK_END, "the end of the tag");
    qa_parser_enter(parser);
    qa_node *body = parse_body(parser, ends);
    qa_parser_leave(parser);
    return body;
}

/* The same for a single word, which is taken. */
static qa_node *parse_to_end(qa_parser *parser, const char *const ends[]) {
    qa_node *body = parse_block(parser, ends);
    parser->token++;
    return body;
}

/* A body that is a function of its own: no loop around it can be left from within. */
static qa_node *parse_function_body(qa_parser *parser, const char *const ends[]) {
    const unsigned loops = parser->loops;
    parser->loops = 0;
    qa_node *body = parse_to_end(parser, ends);
    parser->loops = loops;
    return body;
}

static qa_node *parse_if(qa_parser *parser, uint32_t line) {
    qa_node *node = scoped(parser, QA_NODE_IF, line), *last = node;
    for (;;) {
        last->a = qa_parse_tuple(parser, false);
        last->scope->body = parse_block(parser, END_IF_ELSE);
        if (qa_parser_at_word(parser, "elif")) {
            last = scoped(parser, QA_NODE_IF, (parser->token++)->line);
            qa_parser_add(parser, node, last);
            continue;
        }
        if (qa_token_is(parser->token++, "else")) {
            node->scope->other = parse_to_end(parser, END_IF);
        }
        return node;
    }
}

static qa_node *parse_for(qa_parser *parser, uint32_t line) {
    qa_node *node = scoped(parser, QA_NODE_FOR, line);
    parser->loops++;
    const qa_template_token *target = parser->token;
    node->a = qa_parse_target(parser, false);
    if (!qa_parser_skip_word(parser, "in")) {
        qa_parser_unexpected(parser, "\"in\"");
    }
    node->b = qa_parse_tuple(parser, false);
    if (qa_parser_skip_word(parser, "if")) {
        node->c = qa_parse_expression(parser);
        const qa_template_token *behind = parser->token;
        parser->token = target; /* once more, for variables of its own */
        node->scope->test_target = qa_parse_target(parser, false);
        parser->token = behind;
    }
    if (qa_parser_at_word(parser, "recursive")) {
        qa_parse_fail(parser->parse, QA_ERR_UNSUPPORTED, line, "a recursive loop is not supported");
    }
    node->scope->body = parse_block(parser, END_FOR_ELSE);
    parser->loops--;
    if (qa_token_is(parser->token++, "else")) {
        node->scope->other = parse_to_end(parser, END_FOR);
    }
    return node;
}

static qa_node *parse_set(qa_parser *parser, uint32_t line) {
    qa_node *target = qa_parse_target(parser, true);
    if (qa_parser_skip(parser, '=')) {
        return qa_parser_node(parser, QA_NODE_SET, line, target, qa_parse_tuple(parser, true), NULL);
    }
    qa_node *node = scoped(parser, QA_NODE_SET_BLOCK, line);
    node->a = target;
    node->b = qa_parse_filters(parser, NULL, false);
    node->scope->body = parse_to_end(parser, END_SET);
    return node;
}

static void add_parameter(qa_parser *parser, qa_scope *scope, qa_node *name, qa_node *value) {
    scope->parameters = qa_heap_grow(parser->parse->heap, scope->parameters, scope->n_parameters,
                                     &scope->parameters_capacity, scope->n_parameters + 1, sizeof(qa_parameter));
    for (size_t i = 0; i < scope->n_parameters; i++) {
        const qa_node *other = scope->parameters[i].name;
        if (other->bytes == name->bytes && memcmp(other->text, name->text, name->bytes) == 0) {
            qa_parse_fail(parser->parse, QA_ERR_FORMAT, name->line, "two parameters are called \"%.*s\"",
                          (int)(name->bytes < 80 ? name->bytes : 80), name->text);
        }
    }
    scope->parameters[scope->n_parameters++] = (qa_parameter){.name = name, .value = value};
}

/* "(a, b=1)" */
static void parse_signature(qa_parser *parser, qa_scope *scope) {
    bool optional = false;
    (void)qa_parser_expect(parser, '(', "\"(\"");
    while (!qa_parser_skip(parser, ')')) {
        if (scope->n_parameters > 0) {
            (void)qa_parser_expect(parser, ',', "\",\" or \")\"");
        }
        qa_node *name = qa_parse_name(parser), *value = NULL;
        if (qa_parser_skip(parser, '=')) {
            value = qa_parse_expression(parser);
            optional = true;
        } else if (optional) {
            qa_parser_unexpected(parser, "a default, as for the parameter before,");
        }
        add_parameter(parser, scope, name, value);
    }
}

static qa_node *parse_macro(qa_parser *parser, uint32_t line) {
    qa_node *node = scoped(parser, QA_NODE_MACRO, line);
    node->a = qa_parse_name(parser);
    node->text = node->a->text;
    node->bytes = node->a->bytes;
    parse_signature(parser, node->scope);
    node->scope->body = parse_function_body(parser, END_MACRO);
    return node;
}

static qa_node *parse_call_block(qa_parser *parser, uint32_t line) {
    qa_node *node = scoped(parser, QA_NODE_CALL_BLOCK, line);
    if (qa_parser_at(parser, '(')) {
        parse_signature(parser, node->scope);
    }
    node->a = qa_parse_expression(parser);
    if (node->a->kind != QA_NODE_CALL) {
        qa_parse_fail(parser->parse, QA_ERR_FORMAT, line, "a call block needs a call");
    }
    node->scope->body = parse_function_body(parser, END_CALL);
    return node;
}

static qa_node *parse_filter_block(qa_parser *parser, uint32_t line) {
    qa_node *node = scoped(parser, QA_NODE_FILTER_BLOCK, line);
    node->b = qa_parse_filters(parser, NULL, true);
    node->scope->body = parse_to_end(parser, END_FILTER);
    return node;
}

static qa_node *parse_generation(qa_parser *parser, uint32_t line) {
    qa_node *node = scoped(parser, QA_NODE_GENERATION, line);
    node->scope->body = parse_function_body(parser, END_GENERATION);
    return node;
}

static qa_node *parse_with(qa_parser *parser, uint32_t line) {
    qa_node *node = scoped(parser, QA_NODE_WITH, line);
    while (!qa_parser_at(parser, QA_TOKEN_BLOCK_END)) {
        if (node->scope->n_parameters > 0) {
            (void)qa_parser_expect(parser, ',', "\",\"");
        }
        qa_node *name = qa_parse_name(parser);
        (void)qa_parser_expect(parser, '=', "\"=\"");
        add_parameter(parser, node->scope, name, qa_parse_expression(parser));
    }
    node->scope->body = parse_to_end(parser, END_WITH);
    return node;
}

static qa_node *parse_print(qa_parser *parser, uint32_t line) {
    qa_node *block = qa_parser_node(parser, QA_NODE_BLOCK, line, NULL, NULL, NULL);
    while (!qa_parser_at(parser, QA_TOKEN_BLOCK_END)) {
        if (block->n > 0) {
            (void)qa_parser_expect(parser, ',', "\",\"");
        }
        qa_parser_add(parser, block,
                      qa_parser_node(parser, QA_NODE_PRINT, line, qa_parse_expression(parser), NULL, NULL));
    }
    return block;
}

static qa_node *leave_loop(qa_parser *parser, uint32_t line, qa_node_kind kind) {
    if (parser->loops == 0) {
        qa_parse_fail(parser->parse, QA_ERR_FORMAT, line, "break and continue stand within a loop");
    }
    return qa_parser_node(parser, kind, line, NULL, NULL, NULL);
}

static qa_node *parse_break(qa_parser *parser, uint32_t line) { return leave_loop(parser, line, QA_NODE_BREAK); }
static qa_node *parse_continue(qa_parser *parser, uint32_t line) { return leave_loop(parser, line, QA_NODE_CONTINUE); }

static const struct {
    const char *word;
    statement_parser parse; /* NULL: Jinja2 has it, this is without it */
} STATEMENTS[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"generation", parse_generation},
    {"with", parse_with},
    {"print", parse_print},
    {"break", parse_break},
    {"continue", parse_continue},
    {"block", NULL},
    {"extends", NULL},
    {"include", NULL},
    {"import", NULL},
    {"from", NULL},
    {"autoescape", NULL},
};

static qa_node *parse_statement(qa_parser *parser) {
    const qa_template_token *word = qa_parser_expect(parser, QA_TOKEN_NAME, "the name of a statement");
    for (size_t i = 0; i < sizeof STATEMENTS / sizeof STATEMENTS[0]; i++) {
        if (qa_token_is(word, STATEMENTS[i].word)) {
            if (STATEMENTS[i].parse == NULL) {
                qa_parse_fail(parser->parse, QA_ERR_UNSUPPORTED, word->line, "the statement \"%s\" is not supported",
                              STATEMENTS[i].word);
            }
            return STATEMENTS[i].parse(parser, word->line);
        }
    }
    parser->token = word;
    qa_parser_unexpected(parser, "a statement that is known, or the end of the open one,");
}

static bool at_end_word(const qa_parser *parser, const char *const ends[]) {
    bool found = false;
    for (size_t i = 0; ends != NULL && ends[i] != NULL && !found; i++) {
        found = qa_parser_at_word(parser, ends[i]);
    }
    return found;
}

/* Text, print statements and tags; ends NULL: up to the end of the template. */
static qa_node *parse_body(qa_parser *parser, const char *const ends[]) {
    qa_node *body = qa_parser_node(parser, QA_NODE_BLOCK, parser->token->line, NULL, NULL, NULL);
    while (!qa_parser_at(parser, QA_TOKEN_END)) {
        const qa_template_token *token = parser->token++;
        if (token->type == QA_TOKEN_DATA) {
            qa_node *data = qa_parser_node(parser, QA_NODE_DATA, token->line, NULL, NULL, NULL);
            data->text = token->text;
            data->bytes = token->bytes;
            qa_parser_add(parser, body, data);
        } else if (token->type == QA_TOKEN_VARIABLE_BEGIN) {
            qa_node *value = qa_parse_tuple(parser, true);
            qa_parser_add(parser, body, qa_parser_node(parser, QA_NODE_PRINT, token->line, value, NULL, NULL));
            (void)qa_parser_expect(parser, QA_TOKEN_VARIABLE_END, "the end of the tag, \"}}\",");
        } else if (at_end_word(parser, ends)) {
            return body;
        } else {
            qa_parser_add(parser, body, parse_statement(parser));
            (void)qa_parser_expect(parser, QA_TOKEN_BLOCK_END, "the end of the tag, \"%}\",");
        }
    }
    if (ends != NULL) {
        qa_parser_unexpected(parser, ends[0]);
    }
    return body;
}

qa_node *qa_parse_template(qa_parser *parser) { return parse_body(parser, NULL); }
