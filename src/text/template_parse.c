/* See template_parse.h. The grammar is that of Jinja2's parser, with its precedences: conditions, or, and, not,
 * comparisons, + and -, ~, * / // %, **, signs; a filter or a test binds closer than all of them. */
#include "text/template_parse.h"

#include "text/template_filters_walk.h"
#include "text/template_tests.h"

enum { MOST_ARGUMENTS = 255 };

static qa_node *parse_or(qa_parser *parser);
static qa_node *parse_unary(qa_parser *parser, bool with_filters);

/* ---- tokens ---- */

_Noreturn void qa_parser_unexpected(const qa_parser *parser, const char *expected) {
    const qa_template_token *token = parser->token;
    if (token->type == QA_TOKEN_END) {
        qa_parse_fail(parser->parse, QA_ERR_FORMAT, token->line, "the template ends where %s should stand", expected);
    }
    qa_parse_fail(parser->parse, QA_ERR_FORMAT, token->line, "\"%.*s\" stands where %s should",
                  (int)(token->bytes < 40 ? token->bytes : 40), token->text, expected);
}

bool qa_parser_skip(qa_parser *parser, int type) {
    const bool there = qa_parser_at(parser, type);
    parser->token += there;
    return there;
}

bool qa_parser_skip_word(qa_parser *parser, const char *word) {
    const bool there = qa_parser_at_word(parser, word);
    parser->token += there;
    return there;
}

const qa_template_token *qa_parser_expect(qa_parser *parser, int type, const char *what) {
    if (!qa_parser_at(parser, type)) {
        qa_parser_unexpected(parser, what);
    }
    return parser->token++;
}

void qa_parser_enter(qa_parser *parser) {
    if (++parser->nesting > QA_TEMPLATE_NESTING) {
        qa_parse_fail(parser->parse, QA_ERR_LIMIT, parser->token->line,
                      "blocks and expressions are nested more than %d deep", QA_TEMPLATE_NESTING);
    }
}

/* ---- nodes ---- */

/* Long chains of operators nest to the left without nesting in the text: the tree's height is bounded, too. */
static void raise_height(qa_parser *parser, qa_node *node, const qa_node *child) {
    if (child != NULL && child->height >= node->height) {
        node->height = child->height + 1;
    }
    if (node->height > 2 * QA_TEMPLATE_NESTING) {
        qa_parse_fail(parser->parse, QA_ERR_LIMIT, node->line,
                      "an expression of more than %d operators within each other", 2 * QA_TEMPLATE_NESTING);
    }
}

qa_node *qa_parser_node(qa_parser *parser, qa_node_kind kind, uint32_t line, qa_node *a, qa_node *b, qa_node *c) {
    qa_node *node = QA_HEAP_NEW(parser->parse->heap, qa_node, 1);
    *node = (qa_node){.kind = kind, .line = line, .a = a, .b = b, .c = c};
    raise_height(parser, node, a);
    raise_height(parser, node, b);
    raise_height(parser, node, c);
    return node;
}

void qa_parser_add(qa_parser *parser, qa_node *node, qa_node *item) {
    node->items =
        qa_heap_grow(parser->parse->heap, node->items, node->n, &node->capacity, node->n + 1, sizeof(qa_node *));
    node->items[node->n++] = item;
    raise_height(parser, node, item);
}

static qa_node *constant(qa_parser *parser, uint32_t line, qa_tv value) {
    qa_node *node = qa_parser_node(parser, QA_NODE_CONSTANT, line, NULL, NULL, NULL);
    node->value = value;
    return node;
}

static qa_node *named(qa_parser *parser, qa_node_kind kind, const qa_template_token *token, qa_node *a) {
    qa_node *node = qa_parser_node(parser, kind, token->line, a, NULL, NULL);
    node->text = token->text;
    node->bytes = token->bytes;
    return node;
}

/* ---- calls ---- */

static void add_argument(qa_parser *parser, qa_node *node, qa_arguments *call) {
    qa_heap *heap = parser->parse->heap;
    const bool is_named = qa_parser_at(parser, QA_TOKEN_NAME) && parser->token[1].type == '=';
    const qa_template_token *name = parser->token;
    if (call->double_star != NULL || (!is_named && (call->star != NULL || call->n_named > 0))) {
        qa_parser_unexpected(parser, "the end of the arguments");
    }
    if (call->n + call->n_named >= MOST_ARGUMENTS) {
        qa_parse_fail(parser->parse, QA_ERR_LIMIT, name->line, "a call of more than %d arguments", MOST_ARGUMENTS);
    }
    for (size_t i = 0; is_named && i < call->n_named; i++) {
        if (call->names[i].as.string->n == name->bytes &&
            memcmp(call->names[i].as.string->data, name->text, name->bytes) == 0) {
            qa_parser_unexpected(parser, "another name: it is given twice,");
        }
    }
    parser->token += is_named ? 2 : 0;
    qa_node *value = qa_parse_expression(parser);
    raise_height(parser, node, value);
    if (is_named) {
        const size_t n = call->n_named++;
        call->names = qa_heap_grow(heap, call->names, n, &call->names_capacity, n + 1, sizeof(qa_tv));
        call->named = qa_heap_grow(heap, call->named, n, &call->named_capacity, n + 1, sizeof(qa_node *));
        call->names[n] = qa_template_string(parser->parse, name->text, name->bytes);
        call->named[n] = value;
    } else {
        call->given = qa_heap_grow(heap, call->given, call->n, &call->given_capacity, call->n + 1, sizeof(qa_node *));
        call->given[call->n++] = value;
    }
}

/* "(...)" behind the node. */
static void parse_arguments(qa_parser *parser, qa_node *node) {
    qa_arguments *call = QA_HEAP_NEW(parser->parse->heap, qa_arguments, 1);
    node->call = call;
    (void)qa_parser_expect(parser, '(', "\"(\"");
    qa_parser_enter(parser);
    while (!qa_parser_skip(parser, ')')) {
        if (qa_parser_at(parser, '*') && call->star == NULL && call->double_star == NULL) {
            parser->token++;
            call->star = qa_parse_expression(parser);
            raise_height(parser, node, call->star);
        } else if (qa_parser_at(parser, QA_TOKEN_POWER) && call->double_star == NULL) {
            parser->token++;
            call->double_star = qa_parse_expression(parser);
            raise_height(parser, node, call->double_star);
        } else {
            add_argument(parser, node, call);
        }
        if (!qa_parser_at(parser, ')')) {
            (void)qa_parser_expect(parser, ',', "\",\" or \")\"");
        }
    }
    qa_parser_leave(parser);
}

static qa_node *parse_call(qa_parser *parser, qa_node *callee) {
    qa_node *node = qa_parser_node(parser, QA_NODE_CALL, parser->token->line, callee, NULL, NULL);
    parse_arguments(parser, node);
    return node;
}

/* ---- what follows a value ---- */

static qa_node *parse_subscript(qa_parser *parser) {
    const uint32_t line = parser->token->line;
    qa_node *part[3] = {NULL, NULL, NULL};
    if (!qa_parser_at(parser, ':')) {
        part[0] = qa_parse_expression(parser);
    }
    if (!qa_parser_skip(parser, ':')) {
        return part[0];
    }
    if (!qa_parser_at(parser, ':') && !qa_parser_at(parser, ']')) {
        part[1] = qa_parse_expression(parser);
    }
    if (qa_parser_skip(parser, ':') && !qa_parser_at(parser, ']')) {
        part[2] = qa_parse_expression(parser);
    }
    return qa_parser_node(parser, QA_NODE_SLICE, line, part[0], part[1], part[2]);
}

static qa_node *parse_item(qa_parser *parser, qa_node *node) {
    const uint32_t line = (parser->token++)->line;
    qa_parser_enter(parser);
    qa_node *at = parse_subscript(parser);
    if (qa_parser_at(parser, ',')) {
        qa_parse_fail(parser->parse, QA_ERR_UNSUPPORTED, parser->token->line, "a subscript of several parts");
    }
    (void)qa_parser_expect(parser, ']', "\"]\"");
    qa_parser_leave(parser);
    return qa_parser_node(parser, QA_NODE_ITEM, line, node, at, NULL);
}

static qa_node *parse_attribute(qa_parser *parser, qa_node *node) {
    const qa_template_token *dot = parser->token++;
    const qa_template_token *name = parser->token++;
    if (name->type == QA_TOKEN_NUMBER && name->value.kind == QA_TV_INT) {
        return qa_parser_node(parser, QA_NODE_ITEM, dot->line, node, constant(parser, name->line, name->value), NULL);
    }
    if (name->type != QA_TOKEN_NAME) {
        parser->token = name;
        qa_parser_unexpected(parser, "a name or a number");
    }
    qa_node *attribute = qa_parser_node(parser, QA_NODE_ATTRIBUTE, dot->line, node, NULL, NULL);
    attribute->value = qa_template_string(parser->parse, name->text, name->bytes);
    return attribute;
}

static qa_node *parse_postfix(qa_parser *parser, qa_node *node) {
    for (;;) {
        if (qa_parser_at(parser, '.')) {
            node = parse_attribute(parser, node);
        } else if (qa_parser_at(parser, '[')) {
            node = parse_item(parser, node);
        } else if (qa_parser_at(parser, '(')) {
            node = parse_call(parser, node);
        } else {
            return node;
        }
    }
}

/* The name of a filter or test; no name that Jinja2 knows has a dot. */
static const qa_template_token *parse_row_name(qa_parser *parser, const char *what) {
    const qa_template_token *name = qa_parser_expect(parser, QA_TOKEN_NAME, what);
    if (qa_parser_at(parser, '.')) {
        qa_parse_fail(parser->parse, QA_ERR_FORMAT, name->line, "there is no %s whose name has a dot", what);
    }
    return name;
}

qa_node *qa_parse_filters(qa_parser *parser, qa_node *node, bool first_without_bar) {
    while (first_without_bar || qa_parser_skip(parser, '|')) {
        const qa_template_token *name = parse_row_name(parser, "filter");
        first_without_bar = false;
        node = named(parser, QA_NODE_FILTER, name, node);
        node->row = qa_template_filter(name->text, name->bytes);
        if (qa_parser_at(parser, '(')) {
            parse_arguments(parser, node);
        }
    }
    return node;
}

/* Whether what follows "is NAME" is its argument without parentheses. */
static bool argument_follows(const qa_parser *parser) {
    const int type = parser->token->type;
    return (type == QA_TOKEN_NAME || type == QA_TOKEN_STRING || type == QA_TOKEN_NUMBER || type == '[' ||
            type == '{') &&
           !qa_parser_at_word(parser, "else") && !qa_parser_at_word(parser, "or") && !qa_parser_at_word(parser, "and");
}

static qa_node *parse_primary(qa_parser *parser);

static qa_node *parse_test(qa_parser *parser, qa_node *node) {
    const uint32_t line = (parser->token++)->line;
    const bool negated = qa_parser_skip_word(parser, "not");
    const qa_template_token *name = parse_row_name(parser, "test");
    qa_node *test = named(parser, QA_NODE_TEST, name, node);
    test->row = qa_template_test(name->text, name->bytes);
    if (qa_parser_at(parser, '(')) {
        parse_arguments(parser, test);
    } else if (argument_follows(parser)) {
        if (qa_parser_at_word(parser, "is")) {
            qa_parser_unexpected(parser, "no second test");
        }
        qa_arguments *call = QA_HEAP_NEW(parser->parse->heap, qa_arguments, 1);
        call->given = QA_HEAP_NEW(parser->parse->heap, qa_node *, 1);
        call->given[call->n++] = parse_postfix(parser, parse_primary(parser));
        raise_height(parser, test, call->given[0]);
        test->call = call;
    }
    return negated ? qa_parser_node(parser, QA_NODE_NOT, line, test, NULL, NULL) : test;
}

static qa_node *parse_filters_and_tests(qa_parser *parser, qa_node *node) {
    for (;;) {
        if (qa_parser_at(parser, '|')) {
            node = qa_parse_filters(parser, node, false);
        } else if (qa_parser_at_word(parser, "is")) {
            node = parse_test(parser, node);
        } else if (qa_parser_at(parser, '(')) {
            node = parse_call(parser, node);
        } else {
            return node;
        }
    }
}

/* ---- values ---- */

static qa_node *parse_list(qa_parser *parser) {
    qa_node *node = qa_parser_node(parser, QA_NODE_LIST, (parser->token++)->line, NULL, NULL, NULL);
    while (!qa_parser_skip(parser, ']')) {
        qa_parser_add(parser, node, qa_parse_expression(parser));
        if (!qa_parser_at(parser, ']')) {
            (void)qa_parser_expect(parser, ',', "\",\" or \"]\"");
        }
    }
    return node;
}

static qa_node *parse_dict(qa_parser *parser) {
    qa_node *node = qa_parser_node(parser, QA_NODE_DICT, (parser->token++)->line, NULL, NULL, NULL);
    while (!qa_parser_skip(parser, '}')) {
        qa_parser_add(parser, node, qa_parse_expression(parser));
        (void)qa_parser_expect(parser, ':', "\":\"");
        qa_parser_add(parser, node, qa_parse_expression(parser));
        if (!qa_parser_at(parser, '}')) {
            (void)qa_parser_expect(parser, ',', "\",\" or \"}\"");
        }
    }
    return node;
}

/* Strings that follow each other are one. */
static qa_node *parse_string(qa_parser *parser) {
    const qa_template_token *first = parser->token++;
    if (!qa_parser_at(parser, QA_TOKEN_STRING)) {
        return constant(parser, first->line, first->value);
    }
    size_t bytes = first->value.as.string->n;
    for (const qa_template_token *next = parser->token; next->type == QA_TOKEN_STRING; next++) {
        bytes += next->value.as.string->n;
    }
    char *data = qa_heap_bytes(parser->parse->heap, bytes);
    size_t n = 0;
    for (const qa_template_token *part = first; part->type == QA_TOKEN_STRING; part++, parser->token = part) {
        memcpy(data + n, part->value.as.string->data, part->value.as.string->n);
        n += part->value.as.string->n;
    }
    return constant(parser, first->line, qa_template_string(parser->parse, data, n));
}

static qa_node *parse_word(qa_parser *parser) {
    const qa_template_token *token = parser->token++;
    if (qa_token_is(token, "true") || qa_token_is(token, "True")) {
        return constant(parser, token->line, qa_tv_bool(true));
    }
    if (qa_token_is(token, "false") || qa_token_is(token, "False")) {
        return constant(parser, token->line, qa_tv_bool(false));
    }
    if (qa_token_is(token, "none") || qa_token_is(token, "None")) {
        return constant(parser, token->line, qa_tv_none());
    }
    return named(parser, QA_NODE_NAME, token, NULL);
}

/* "(...)": a tuple, which may be empty, or an expression. */
static qa_node *parse_parentheses(qa_parser *parser) {
    const uint32_t line = (parser->token++)->line;
    qa_node *node = qa_parser_at(parser, ')') ? qa_parser_node(parser, QA_NODE_TUPLE, line, NULL, NULL, NULL)
                                              : qa_parse_tuple(parser, true);
    (void)qa_parser_expect(parser, ')', "\")\"");
    return node;
}

static qa_node *parse_primary(qa_parser *parser) {
    const qa_template_token *token = parser->token;
    qa_node *node = NULL;
    qa_parser_enter(parser);
    switch (token->type) {
    case QA_TOKEN_NAME: node = parse_word(parser); break;
    case QA_TOKEN_STRING: node = parse_string(parser); break;
    case QA_TOKEN_NUMBER:
        parser->token++;
        node = constant(parser, token->line, token->value);
        break;
    case '(': node = parse_parentheses(parser); break;
    case '[': node = parse_list(parser); break;
    case '{': node = parse_dict(parser); break;
    default: qa_parser_unexpected(parser, "a value");
    }
    qa_parser_leave(parser);
    return node;
}

/* ---- operators ---- */

static qa_node *parse_unary(qa_parser *parser, bool with_filters) {
    const qa_template_token *token = parser->token;
    qa_node *node = NULL;
    qa_parser_enter(parser);
    if (token->type == '-' || token->type == '+') {
        parser->token++;
        node = parse_unary(parser, false);
        node =
            qa_parser_node(parser, token->type == '-' ? QA_NODE_NEGATE : QA_NODE_PLUS, token->line, node, NULL, NULL);
    } else {
        node = parse_primary(parser);
    }
    node = parse_postfix(parser, node);
    qa_parser_leave(parser);
    return with_filters ? parse_filters_and_tests(parser, node) : node;
}

/* Operators of one level, from the left; level 0 binds loosest. "~" joins any number at once. */
static qa_node *parse_binary(qa_parser *parser, int level) {
    static const int OPERATORS[][5] = {{'+', '-'}, {'~'}, {'*', '/', QA_TOKEN_FLOOR, '%'}, {QA_TOKEN_POWER}};
    enum { LEVELS = sizeof OPERATORS / sizeof OPERATORS[0], CONCAT_LEVEL = 1 };
    qa_node *left = level == LEVELS ? parse_unary(parser, true) : parse_binary(parser, level + 1);
    for (int i = 0; level < LEVELS && OPERATORS[level][i] != 0;) {
        const uint32_t line = parser->token->line;
        if (!qa_parser_skip(parser, OPERATORS[level][i])) {
            i++;
            continue;
        }
        qa_node *right = parse_binary(parser, level + 1);
        if (level == CONCAT_LEVEL && left->kind == QA_NODE_CONCAT && left->operator_ == '~') {
            qa_parser_add(parser, left, right);
        } else if (level == CONCAT_LEVEL) {
            qa_node *concat = qa_parser_node(parser, QA_NODE_CONCAT, line, NULL, NULL, NULL);
            concat->operator_ = '~';
            qa_parser_add(parser, concat, left);
            qa_parser_add(parser, concat, right);
            left = concat;
        } else {
            const int operator_ = OPERATORS[level][i];
            left = qa_parser_node(parser, QA_NODE_BINARY, line, left, right, NULL);
            left->operator_ = operator_;
        }
        i = 0;
    }
    if (level == CONCAT_LEVEL) {
        left->operator_ = left->kind == QA_NODE_CONCAT ? 0 : left->operator_; /* closed: "(a ~ b) ~ c" */
    }
    return left;
}

static bool is_comparison(int type) {
    return type == QA_TOKEN_EQUAL || type == QA_TOKEN_UNEQUAL || type == QA_TOKEN_AT_MOST ||
           type == QA_TOKEN_AT_LEAST || type == '<' || type == '>';
}

static qa_node *parse_comparison(qa_parser *parser) {
    qa_node *left = parse_binary(parser, 0);
    qa_node *compare = NULL;
    for (;;) {
        const qa_template_token *token = parser->token;
        int operator_ = token->type;
        if (qa_parser_at_word(parser, "in")) {
            operator_ = QA_TOKEN_IN;
        } else if (qa_parser_at_word(parser, "not") && qa_token_is(token + 1, "in")) {
            operator_ = QA_TOKEN_NOT_IN;
            parser->token++;
        } else if (!is_comparison(operator_)) {
            return compare != NULL ? compare : left;
        }
        parser->token++;
        compare = compare != NULL ? compare : qa_parser_node(parser, QA_NODE_COMPARE, token->line, left, NULL, NULL);
        qa_node *operand = qa_parser_node(parser, QA_NODE_OPERAND, token->line, parse_binary(parser, 0), NULL, NULL);
        operand->operator_ = operator_;
        qa_parser_add(parser, compare, operand);
    }
}

static qa_node *parse_not(qa_parser *parser) {
    const uint32_t line = parser->token->line;
    if (!qa_parser_skip_word(parser, "not")) {
        return parse_comparison(parser);
    }
    qa_parser_enter(parser);
    qa_node *node = qa_parser_node(parser, QA_NODE_NOT, line, parse_not(parser), NULL, NULL);
    qa_parser_leave(parser);
    return node;
}

static qa_node *parse_and(qa_parser *parser) {
    qa_node *left = parse_not(parser);
    for (uint32_t line = parser->token->line; qa_parser_skip_word(parser, "and"); line = parser->token->line) {
        left = qa_parser_node(parser, QA_NODE_AND, line, left, parse_not(parser), NULL);
    }
    return left;
}

static qa_node *parse_or(qa_parser *parser) {
    qa_node *left = parse_and(parser);
    for (uint32_t line = parser->token->line; qa_parser_skip_word(parser, "or"); line = parser->token->line) {
        left = qa_parser_node(parser, QA_NODE_OR, line, left, parse_and(parser), NULL);
    }
    return left;
}

qa_node *qa_parse_expression(qa_parser *parser) {
    qa_parser_enter(parser);
    qa_node *node = parse_or(parser);
    for (uint32_t line = parser->token->line; qa_parser_skip_word(parser, "if"); line = parser->token->line) {
        qa_node *condition = parse_or(parser);
        qa_node *other = qa_parser_skip_word(parser, "else") ? qa_parse_expression(parser) : NULL;
        node = qa_parser_node(parser, QA_NODE_CONDITION, line, condition, node, other);
    }
    qa_parser_leave(parser);
    return node;
}

/* ---- tuples and targets ---- */

static bool tuple_ends(const qa_parser *parser) {
    return qa_parser_at(parser, QA_TOKEN_VARIABLE_END) || qa_parser_at(parser, QA_TOKEN_BLOCK_END) ||
           qa_parser_at(parser, ')');
}

qa_node *qa_parse_tuple(qa_parser *parser, bool with_condition) {
    const uint32_t line = parser->token->line;
    if (tuple_ends(parser)) {
        qa_parser_unexpected(parser, "an expression");
    }
    qa_node *first = with_condition ? qa_parse_expression(parser) : parse_or(parser);
    if (!qa_parser_at(parser, ',')) {
        return first;
    }
    qa_node *tuple = qa_parser_node(parser, QA_NODE_TUPLE, line, NULL, NULL, NULL);
    qa_parser_add(parser, tuple, first);
    while (qa_parser_skip(parser, ',') && !tuple_ends(parser) && !qa_parser_at_word(parser, "recursive")) {
        qa_parser_add(parser, tuple, with_condition ? qa_parse_expression(parser) : parse_or(parser));
    }
    return tuple;
}

qa_node *qa_parse_name(qa_parser *parser) {
    const qa_template_token *token = qa_parser_expect(parser, QA_TOKEN_NAME, "a name");
    static const char *const KEPT[] = {"true", "True", "false", "False", "none", "None"};
    for (size_t i = 0; i < sizeof KEPT / sizeof KEPT[0]; i++) {
        if (qa_token_is(token, KEPT[i])) {
            qa_parse_fail(parser->parse, QA_ERR_FORMAT, token->line, "\"%s\" cannot be assigned to", KEPT[i]);
        }
    }
    if (qa_token_is(token, "loop") && parser->loops > 0) {
        qa_parse_fail(parser->parse, QA_ERR_FORMAT, token->line, "\"loop\" cannot be assigned to within a loop");
    }
    return named(parser, QA_NODE_NAME, token, NULL);
}

static qa_node *parse_single_target(qa_parser *parser, bool members) {
    if (qa_parser_at(parser, '(')) {
        parser->token++;
        qa_parser_enter(parser);
        qa_node *inner = qa_parse_target(parser, members);
        qa_parser_leave(parser);
        (void)qa_parser_expect(parser, ')', "\")\"");
        return inner;
    }
    if (!members || parser->token[0].type != QA_TOKEN_NAME || parser->token[1].type != '.') {
        return qa_parse_name(parser);
    }
    qa_node *member = named(parser, QA_NODE_MEMBER, parser->token, NULL);
    parser->token += 2;
    const qa_template_token *attribute = qa_parser_expect(parser, QA_TOKEN_NAME, "a name");
    member->value = qa_template_string(parser->parse, attribute->text, attribute->bytes);
    return member;
}

qa_node *qa_parse_target(qa_parser *parser, bool members) {
    const uint32_t line = parser->token->line;
    qa_node *first = parse_single_target(parser, members);
    if (!qa_parser_at(parser, ',')) {
        return first;
    }
    qa_node *tuple = qa_parser_node(parser, QA_NODE_TUPLE, line, NULL, NULL, NULL);
    qa_parser_add(parser, tuple, first);
    while (qa_parser_skip(parser, ',') && !tuple_ends(parser) && !qa_parser_at_word(parser, "in") &&
           !qa_parser_at(parser, '=')) {
        qa_parser_add(parser, tuple, parse_single_target(parser, members));
    }
    return tuple;
}
