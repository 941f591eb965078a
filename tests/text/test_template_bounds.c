/* Chat templates: what their interpreter promises apart from the language. Every bound has an error that says which;
 * errors name line and construct; a failed rendering leaves the output alone; a small stack is enough. */
#include "support/template_rows.h"

#include "base/buffer.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *text_template_bounds_suite(void);

/* ---- helpers ---- */

static qa_status parse_text(qa_template **out, const char *text, qa_error *err) {
    return qa_template_parse(out, text, strlen(text), "chat_template of tokenizer_config.json", err);
}

static void check_refused(const char *text, qa_status status, const char *words) {
    qa_template *parsed = NULL;
    qa_error err = {0};
    ck_assert_int_eq((int)parse_text(&parsed, text, &err), (int)status);
    ck_assert_ptr_null(parsed);
    ck_assert_msg(strstr(err.message, words) != NULL, "\"%s\" lacks \"%s\"", err.message, words);
}

/* Renders; the result's message is copied, the output appended. */
static qa_template_outcome render_text(const char *text, const json_t *variables, const qa_template_options *options,
                                       qa_text *out, qa_template_result *result) {
    qa_template *parsed = NULL;
    qa_error err = {0};
    ck_assert_msg(parse_text(&parsed, text, &err) == QA_OK, "%s", err.message);
    ck_assert_msg(qa_template_render(parsed, variables, options, out, result, &err) == QA_OK, "%s", err.message);
    qa_template_free(parsed);
    return result->outcome;
}

static void check_bound(const char *text, qa_template_options options, const char *words) {
    json_t *variables = qa_template_row_variables();
    qa_template_result result = {0};
    qa_text out = {0};
    qa_error err = {0};
    ck_assert_int_eq((int)qa_text_append_z(&out, "before", &err), QA_OK);
    ck_assert_int_eq((int)render_text(text, variables, &options, &out, &result), QA_TEMPLATE_ERROR);
    ck_assert_msg(strstr(result.message, words) != NULL, "\"%s\" lacks \"%s\"", result.message, words);
    ck_assert_uint_gt(result.line, 0);
    ck_assert_str_eq(out.data, "before");
    ck_assert_uint_eq(out.n, 6);
    qa_text_free(&out);
    qa_template_result_free(&result);
    json_decref(variables);
}

/* front, `times` times middle, back; the caller frees it. */
static char *repeated_text(const char *front, const char *middle, size_t times, const char *back) {
    const size_t bytes = strlen(front) + strlen(middle) * times + strlen(back) + 1;
    char *text = malloc(bytes);
    ck_assert_ptr_nonnull(text);
    size_t n = (size_t)snprintf(text, bytes, "%s", front);
    for (size_t i = 0; i < times; i++) {
        memcpy(text + n, middle, strlen(middle));
        n += strlen(middle);
    }
    (void)snprintf(text + n, bytes - n, "%s", back);
    return text;
}

/* ---- parsing ---- */

START_TEST(bounds_of_parsing) {
    static const struct {
        const char *front, *middle, *back;
        size_t times;
        const char *words;
    } LONG[] = {
        {"", "a", "", (512 << 10) + 1, "at most 524288"},
        {"{{ ", "(", "", 101, "brackets are nested more than 100"},
        {"{{ ", "[", "", 101, "brackets are nested more than 100"},
        {"{{ ", "not ", "1 }}", 101, "nested more than 100"},
        {"{{ ", "-", "1 }}", 101, "nested more than 100"},
        {"{{ 1", " if 1 else 1", " }}", 101, "nested more than 100"},
        {"", "{% if 1 %}", "", 101, "nested more than 100"},
        {"", "{% for x in y %}", "", 101, "nested more than 100"},
        {"", "{% macro f() %}", "", 101, "nested more than 100"},
        {"{{ 1", "+1", " }}", 201, "more than 200 operators"},
        {"{{ 1", "|int", " }}", 201, "more than 200 operators"},
        {"{{ a", ".b", " }}", 201, "more than 200 operators"},
        {"{{ f(", "1,", ") }}", 300, "more than 255 arguments"},
    };
    for (size_t i = 0; i < sizeof LONG / sizeof LONG[0]; i++) {
        char *text = repeated_text(LONG[i].front, LONG[i].middle, LONG[i].times, LONG[i].back);
        check_refused(text, QA_ERR_LIMIT, LONG[i].words);
        free(text);
    }
    char *many = malloc(300 * 24);
    ck_assert_ptr_nonnull(many);
    size_t n = 0;
    for (size_t i = 0; i < 300; i++) {
        n += (size_t)snprintf(many + n, 24, "{%% set v%zu = 1 %%}", i);
    }
    check_refused(many, QA_ERR_LIMIT, "more than 250 variables");
    free(many);
}
END_TEST

START_TEST(errors_name_line_and_construct) {
    check_refused("a\n{% include 'x' %}", QA_ERR_UNSUPPORTED,
                  "chat_template of tokenizer_config.json, line 2: the statement \"include\" is not supported");
    check_refused("\n\n{% for x in y recursive %}{% endfor %}", QA_ERR_UNSUPPORTED, "line 3: a recursive loop");
    check_refused("{{ 9223372036854775808 }}", QA_ERR_UNSUPPORTED, "9223372036854775808 does not fit 64 bits");
    check_refused("{{ x[1, 2] }}", QA_ERR_UNSUPPORTED, "a subscript of several parts");
    check_refused("{{ '\\N{DASH}' }}", QA_ERR_UNSUPPORTED, "\\N{...}");
    check_refused("{% if x %}\n{{ x }", QA_ERR_FORMAT, "line 2: unexpected '}'");
    check_refused("{% if x %}\n{{ x }}", QA_ERR_FORMAT, "line 2: the template ends where elif should stand");
    check_refused("{% endfor %}", QA_ERR_FORMAT, "\"endfor\" stands where a statement that is known");
    check_refused("{{ x|nosuch }}", QA_ERR_FORMAT, "there is no filter \"nosuch\"");
    check_refused("{{ x is nosuch }}", QA_ERR_FORMAT, "there is no test \"nosuch\"");
    check_refused("{% break %}", QA_ERR_FORMAT, "within a loop");
    check_refused("{# open ", QA_ERR_FORMAT, "a comment {# has no end");
    check_refused("{% raw %}x", QA_ERR_FORMAT, "endraw");
    check_refused("{{ 'open }}", QA_ERR_FORMAT, "a string has no end");
    check_refused("a\xff", QA_ERR_FORMAT, "not UTF-8 from byte 1");
}
END_TEST

/* ---- rendering ---- */

#define LOOPS "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}"
#define ENDS "{% endfor %}{% endfor %}{% endfor %}"

START_TEST(bounds_of_rendering) {
    check_bound("\n" LOOPS ENDS, (qa_template_options){.steps = 100000}, "more steps");
    check_bound(LOOPS ENDS, (qa_template_options){0}, "more steps");
    check_bound(
        "{% set ns = namespace(s='0123456789') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        (qa_template_options){0}, "the values take more than the 268435456 bytes");
    check_bound("{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s * 2 %}{% endfor %}",
                (qa_template_options){.memory = 1 << 20}, "bytes that a rendering may");
    check_bound("{{ 'ab' * 999999999999 }}", (qa_template_options){0}, "is repeated 999999999999 times");
    check_bound("{{ [1] * 999999999999 }}", (qa_template_options){0}, "is repeated");
    check_bound("{{ 'a'.center(999999999999) }}", (qa_template_options){0}, "bytes that a rendering may");
    check_bound("{{ 'a'|indent(999999999999) }}", (qa_template_options){0}, "is repeated");
    check_bound("{{ '%999999999d' % 1 }}", (qa_template_options){0}, "width or precision");
    check_bound("{{ '{:999999999}'.format(1) }}", (qa_template_options){0}, "width or precision");
    check_bound("{% for i in range(100001) %}{% endfor %}", (qa_template_options){0}, "more than 100000 values");
    check_bound("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", (qa_template_options){0}, "nested more than 400");
    check_bound("{% set ns = namespace(s=[]) %}{% for i in range(500) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
                (qa_template_options){0}, "nested more than 400");
    check_bound("{% set ns = namespace(s=[]) %}{% for i in range(500) %}{% set ns.s = [ns.s] %}{% endfor %}"
                "{{ ns.s|tojson }}",
                (qa_template_options){0}, "nested more than 400");
    check_bound("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", (qa_template_options){0},
                "nested more than 400");
    check_bound("{% set ns = namespace(g=l) %}{% for i in range(1000) %}{% set ns.g = ns.g|map('string') %}{% endfor %}"
                "{{ ns.g|list }}",
                (qa_template_options){0}, "nested more than 400");
    check_bound("{% for i in range(100000) %}0123456789{% endfor %}", (qa_template_options){.output_bytes = 100000},
                "longer than 100000 bytes");
    check_bound("{% set x %}{% for i in range(100000) %}0123456789{% endfor %}{% endset %}",
                (qa_template_options){.output_bytes = 100000}, "longer than 100000 bytes");
    check_bound("{{ 9223372036854775807 + 1 }}", (qa_template_options){0}, "does not fit 64 bits");
    check_bound("{{ 3 ** 99 }}", (qa_template_options){0}, "does not fit 64 bits");
    check_bound("{{ x|urlize }}", (qa_template_options){0}, "urlize() is not supported");
    check_bound("{{ l|select }}", (qa_template_options){0}, "a generator is printed");
    check_bound("text\n\n{{ x.y.z }}", (qa_template_options){0}, "'x' is undefined");
    check_bound("{{ messages.append(1) }}", (qa_template_options){0}, "the sandbox forbids");
}
END_TEST

START_TEST(deep_json_is_an_error) {
    qa_template_result result = {0};
    qa_text out = {0};
    json_t *variables = json_object(), *deep = json_array();
    for (size_t i = 0; i < 500; i++) {
        json_t *outer = json_array();
        ck_assert_int_eq(json_array_append_new(outer, deep), 0);
        deep = outer;
    }
    ck_assert_int_eq(json_object_set_new(variables, "deep", deep), 0);
    const qa_template_options options = {0};
    ck_assert_int_eq((int)render_text("x", variables, &options, &out, &result), QA_TEMPLATE_ERROR);
    ck_assert_ptr_nonnull(strstr(result.message, "nested more than 400"));
    json_decref(variables);
    qa_text_free(&out);
    qa_template_result_free(&result);
}
END_TEST

START_TEST(raised_messages_are_word_for_word) {
    json_t *variables = qa_template_row_variables();
    qa_template_result result = {0};
    qa_text out = {0};
    const qa_template_options options = {0};
    ck_assert_int_eq(
        (int)render_text("a\n{{ raise_exception('No \"tool\"\\n ' ~ n ~ ' é!') }}", variables, &options, &out, &result),
        QA_TEMPLATE_RAISED);
    ck_assert_str_eq(result.message, "No \"tool\"\n 5 é!");
    ck_assert_uint_eq(result.line, 2);
    ck_assert_uint_eq(out.n, 0);
    json_decref(variables);
    qa_text_free(&out);
    qa_template_result_free(&result);
}
END_TEST

START_TEST(variables_are_an_object) {
    qa_template *parsed = NULL;
    qa_template_result result = {0};
    qa_text out = {0};
    qa_error err = {0};
    json_t *list = json_array();
    const qa_template_options options = {0};
    ck_assert_int_eq((int)parse_text(&parsed, "x", &err), QA_OK);
    ck_assert_int_eq((int)qa_template_render(parsed, list, &options, &out, &result, &err), QA_ERR_ARGUMENT);
    json_decref(list);
    qa_template_free(parsed);
    qa_template_free(NULL);
}
END_TEST

START_TEST(generation_blocks_are_found) {
    json_t *variables = qa_template_row_variables();
    qa_template_result result = {0};
    qa_text out = {0};
    qa_error err = {0};
    const qa_template_options options = {0};
    ck_assert_int_eq((int)qa_text_append_z(&out, "before ", &err), QA_OK);
    ck_assert_int_eq((int)render_text("{% macro f() %}{% generation %}m{% endgeneration %}{% endmacro %}{{ f() }}"
                                      "{% for m in l %}[{% generation %}{{ m }}!{% endgeneration %}]{% endfor %}",
                                      variables, &options, &out, &result),
                     QA_TEMPLATE_TEXT);
    ck_assert_str_eq(out.data, "before m[3!][1!][2!]");
    ck_assert_uint_eq(result.n_generations, 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(result.generations[i].begin, 9 + 4 * i);
        ck_assert_uint_eq(result.generations[i].end, 11 + 4 * i);
    }
    ck_assert_int_eq((int)render_text("{{ n }}", variables, &options, &out, &result), QA_TEMPLATE_TEXT);
    ck_assert_uint_eq(result.n_generations, 0);
    json_decref(variables);
    qa_text_free(&out);
    qa_template_result_free(&result);
}
END_TEST

/* ---- threads ---- */

#ifdef QA_SANITIZE
enum { SMALL_STACK = 1 << 20 }; /* the sanitizers' frames are several times as large */
#else
enum { SMALL_STACK = 256 << 10 };
#endif

static void *render_deepest(void *unused) {
    static const struct {
        const char *front, *middle, *back;
        size_t times;
    } DEEP[] = {
        {"{{ ", "(", "1", 95},
        {"{{ 1", "+1", " }}", 199},
        {"{{ 'a'", "|upper|map('string')|join", " }}", 60},
        {"", "{% if 1 %}{% set x %}", "", 45},
        {"", "{% for a in [1] if 1 %}", "", 95},
        {"{% macro f(x) %}{% set y %}{% filter upper %}{% for a in [1] %}{{ [[[f(x)|upper]|map('upper')|first]] }}",
         "x", "{% endfor %}{% endfilter %}{% endset %}{{ y }}{% endmacro %}{{ f(1) }}", 1},
        {"{% macro f(x) %}{{ caller(f(x)) }}{% call(a) f(x) %}{{ a }}{% endcall %}", "x", "{% endmacro %}{{ f(1) }}",
         1},
        {"{% macro f() %}{{ {'a': f() ~ [f() + 'b' if 1 else 2]}|tojson }}", "x", "{% endmacro %}{{ f() }}", 1},
        {"{% set ns = namespace(g=l) %}{% for i in range(190) %}{% set ns.g = ns.g|map('string')|unique|select %}{% "
         "endfor "
         "%}{{ ns.g|list }}",
         "x", "", 1},
        {"{% set ns = namespace(s=[]) %}{% for i in range(399) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s|string ~ "
         "ns.s|tojson ~ (ns.s < [ns.s]) ~ (ns.s == [ns.s]) }}",
         "x", "", 1},
    };
    json_t *variables = qa_template_row_variables();
    const qa_template_options options = {.steps = 3000000};
    for (size_t i = 0; i < sizeof DEEP / sizeof DEEP[0]; i++) {
        qa_template *parsed = NULL;
        qa_template_result result = {0};
        qa_text out = {0};
        qa_error err = {0};
        char *text = repeated_text(DEEP[i].front, DEEP[i].middle, DEEP[i].times, DEEP[i].back);
        if (parse_text(&parsed, text, &err) == QA_OK) {
            (void)!qa_template_render(parsed, variables, &options, &out, &result, &err);
        }
        free(text);
        qa_template_free(parsed);
        qa_template_result_free(&result);
        qa_text_free(&out);
    }
    json_decref(variables);
    return unused;
}

START_TEST(a_small_stack_is_enough) {
    pthread_attr_t attributes;
    pthread_t thread;
    ck_assert_int_eq(pthread_attr_init(&attributes), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&attributes, SMALL_STACK), 0);
    ck_assert_int_eq(pthread_create(&thread, &attributes, render_deepest, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(pthread_attr_destroy(&attributes), 0);
}
END_TEST

typedef struct shared_rendering {
    const qa_template *parsed;
    char *text;
} shared_rendering;

static void *render_shared(void *argument) {
    shared_rendering *it = argument;
    const qa_template_options options = {0};
    json_t *variables = qa_template_row_variables();
    qa_text out = {0};
    for (size_t i = 0; i < 200; i++) {
        qa_template_result result = {0};
        qa_error err = {0};
        out.n = 0;
        (void)!qa_template_render(it->parsed, variables, &options, &out, &result, &err);
    }
    it->text = out.data;
    json_decref(variables);
    return NULL;
}

START_TEST(threads_share_a_template) {
    enum { N_THREADS = 4 };
    pthread_t threads[N_THREADS];
    shared_rendering renderings[N_THREADS];
    qa_template *parsed = NULL;
    qa_error err = {0};
    ck_assert_int_eq(
        (int)parse_text(&parsed, "{% for m in messages %}{{ 'ünï'[::-1] ~ m.role|upper ~ 'äö'|length }}{% endfor %}",
                        &err),
        QA_OK);
    for (size_t i = 0; i < N_THREADS; i++) {
        renderings[i] = (shared_rendering){.parsed = parsed};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, render_shared, &renderings[i]), 0);
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_str_eq(renderings[i].text, "ïnüSYSTEM2ïnüUSER2ïnüASSISTANT2");
        free(renderings[i].text);
    }
    qa_template_free(parsed);
}
END_TEST

Suite *text_template_bounds_suite(void) {
    Suite *suite = suite_create("text/template_bounds");
    TCase *tests = tcase_create("bounds");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, bounds_of_parsing);
    tcase_add_test(tests, errors_name_line_and_construct);
    tcase_add_test(tests, bounds_of_rendering);
    tcase_add_test(tests, deep_json_is_an_error);
    tcase_add_test(tests, raised_messages_are_word_for_word);
    tcase_add_test(tests, variables_are_an_object);
    tcase_add_test(tests, generation_blocks_are_found);
    tcase_add_test(tests, a_small_stack_is_enough);
    tcase_add_test(tests, threads_share_a_template);
    suite_add_tcase(suite, tests);
    return suite;
}
