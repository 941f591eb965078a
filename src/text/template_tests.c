/* See template_tests.h: one row a test. */
#include "text/template_tests.h"

#include "text/template_lex.h"
#include "text/template_operators.h"
#include "text/template_print.h"
#include "text/template_strings.h"

QA_TV_BODY(test_defined) { return qa_tv_bool(self.kind != QA_TV_UNDEFINED); }
QA_TV_BODY(test_undefined) { return qa_tv_bool(self.kind == QA_TV_UNDEFINED); }
QA_TV_BODY(test_none) { return qa_tv_bool(self.kind == QA_TV_NONE); }
QA_TV_BODY(test_boolean) { return qa_tv_bool(self.kind == QA_TV_BOOL); }
QA_TV_BODY(test_true) { return qa_tv_bool(self.kind == QA_TV_BOOL && self.as.truth); }
QA_TV_BODY(test_false) { return qa_tv_bool(self.kind == QA_TV_BOOL && !self.as.truth); }
QA_TV_BODY(test_integer) { return qa_tv_bool(self.kind == QA_TV_INT); }
QA_TV_BODY(test_float) { return qa_tv_bool(self.kind == QA_TV_FLOAT); }
QA_TV_BODY(test_string) { return qa_tv_bool(self.kind == QA_TV_STRING); }
QA_TV_BODY(test_mapping) { return qa_tv_bool(self.kind == QA_TV_DICT); }
QA_TV_BODY(test_iterable) { return qa_tv_bool(qa_tv_walkable(&self) || self.kind == QA_TV_LOOP); }
QA_TV_BODY(test_callable) {
    return qa_tv_bool(self.kind == QA_TV_FUNCTION || self.kind == QA_TV_MACRO || self.kind == QA_TV_UNDEFINED ||
                      self.kind == QA_TV_LOOP);
}
QA_TV_BODY(test_escaped) { return qa_tv_bool(self.kind == QA_TV_STRING && self.as.string->markup); }

QA_TV_BODY(test_number) {
    return qa_tv_bool(self.kind == QA_TV_INT || self.kind == QA_TV_FLOAT || self.kind == QA_TV_BOOL);
}

/* What has a length and items. */
QA_TV_BODY(test_sequence) {
    return qa_tv_bool(self.kind == QA_TV_STRING || self.kind == QA_TV_LIST || self.kind == QA_TV_TUPLE ||
                      self.kind == QA_TV_DICT || self.kind == QA_TV_RANGE || self.kind == QA_TV_UNDEFINED);
}

/* Whether value % by is `rest`; of a string, too, which is then a format. */
static qa_tv leaves_rest(qa_tv_run *run, qa_tv value, qa_tv by, int64_t rest) {
    const qa_tv modulo = qa_tv_operate(run, '%', value, by), expected = qa_tv_int(rest);
    return qa_tv_bool(qa_tv_equal(run, &modulo, &expected));
}

QA_TV_BODY(test_odd) { return leaves_rest(run, self, qa_tv_int(2), 1); }
QA_TV_BODY(test_even) { return leaves_rest(run, self, qa_tv_int(2), 0); }
QA_TV_BODY(test_divisibleby) { return leaves_rest(run, self, args[0], 0); }

/* str(value).islower(), isupper(). */
static qa_tv is_all(qa_tv_run *run, qa_tv value, qa_tv_case how) {
    const qa_tv text = qa_tv_str(run, value);
    const qa_tv cased = qa_tv_cased(run, text.as.string, how);
    const qa_tv other = qa_tv_cased(run, text.as.string, how == QA_TV_LOWER ? QA_TV_UPPER : QA_TV_LOWER);
    return qa_tv_bool(qa_tv_equal(run, &text, &cased) && !qa_tv_equal(run, &text, &other));
}

QA_TV_BODY(test_lower) { return is_all(run, self, QA_TV_LOWER); }
QA_TV_BODY(test_upper) { return is_all(run, self, QA_TV_UPPER); }

QA_TV_BODY(test_sameas) {
    const bool simple = self.kind == QA_TV_NONE || self.kind == QA_TV_BOOL || self.kind == QA_TV_INT ||
                        self.kind == QA_TV_FLOAT || self.kind == QA_TV_STRING || self.kind == QA_TV_UNDEFINED;
    return qa_tv_bool(self.kind == args[0].kind &&
                      (simple ? qa_tv_equal(run, &self, &args[0]) : self.as.list == args[0].as.list));
}

QA_TV_BODY(test_in) { return qa_tv_bool(qa_tv_contains(run, &args[0], &self)); }
QA_TV_BODY(test_equal) { return qa_tv_bool(qa_tv_equal(run, &self, &args[0])); }
QA_TV_BODY(test_unequal) { return qa_tv_bool(!qa_tv_equal(run, &self, &args[0])); }
QA_TV_BODY(test_above) { return qa_tv_bool(qa_tv_compare(run, '>', &self, &args[0])); }
QA_TV_BODY(test_below) { return qa_tv_bool(qa_tv_compare(run, '<', &self, &args[0])); }
QA_TV_BODY(test_at_least) { return qa_tv_bool(qa_tv_compare(run, QA_TOKEN_AT_LEAST, &self, &args[0])); }
QA_TV_BODY(test_at_most) { return qa_tv_bool(qa_tv_compare(run, QA_TOKEN_AT_MOST, &self, &args[0])); }

static const qa_tv_row TESTS[] = {
    {"defined", test_defined, ""},
    {"undefined", test_undefined, ""},
    {"none", test_none, ""},
    {"string", test_string, ""},
    {"iterable", test_iterable, ""},
    {"mapping", test_mapping, ""},
    {"sequence", test_sequence, ""},
    {"true", test_true, ""},
    {"false", test_false, ""},
    {"boolean", test_boolean, ""},
    {"number", test_number, ""},
    {"integer", test_integer, ""},
    {"float", test_float, ""},
    {"callable", test_callable, ""},
    {"odd", test_odd, ""},
    {"even", test_even, ""},
    {"lower", test_lower, ""},
    {"upper", test_upper, ""},
    {"escaped", test_escaped, ""},
    {"divisibleby", test_divisibleby, "num"},
    {"sameas", test_sameas, "other"},
    {"in", test_in, "seq"},
    {"==", test_equal, "/other"},
    {"eq", test_equal, "/other"},
    {"equalto", test_equal, "/other"},
    {"!=", test_unequal, "/other"},
    {"ne", test_unequal, "/other"},
    {">", test_above, "/other"},
    {"gt", test_above, "/other"},
    {"greaterthan", test_above, "/other"},
    {"<", test_below, "/other"},
    {"lt", test_below, "/other"},
    {"lessthan", test_below, "/other"},
    {">=", test_at_least, "/other"},
    {"ge", test_at_least, "/other"},
    {"<=", test_at_most, "/other"},
    {"le", test_at_most, "/other"},
    {"filter", NULL, ""},
    {"test", NULL, ""},
};

const qa_tv_row *qa_template_test(const char *name, size_t bytes) { return QA_TV_FIND_ROW(TESTS, name, bytes); }
