/* What Python's str can do, as far as methods and filters share it. Everything counts in characters, as Python does. */
#ifndef QA_TEXT_TEMPLATE_STRINGS_H
#define QA_TEXT_TEMPLATE_STRINGS_H

#include "text/template_print.h"

typedef enum qa_tv_case {
    QA_TV_LOWER,
    QA_TV_UPPER,
    QA_TV_TITLE,
    QA_TV_CAPITAL,
    QA_TV_SWAPPED,
    QA_TV_FOLDED
} qa_tv_case;
qa_tv qa_tv_cased(qa_tv_run *run, const qa_tv_string *text, qa_tv_case how);
bool qa_tv_is_cased(uint32_t code); /* upper, lower or title case */

/* Without the characters of `set` (NULL: white space) at the front, at the end. */
qa_tv qa_tv_stripped(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *set, bool front, bool end);
/* `most` below zero: all. */
qa_tv qa_tv_replaced(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *old, const qa_tv_string *new_,
                     int64_t most);
/* separator NULL: white space, and no empty parts. */
qa_tv_list *qa_tv_split(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *separator, int64_t most,
                        bool from_end);
qa_tv_list *qa_tv_lines(qa_tv_run *run, const qa_tv_string *text, bool keep_ends);
/* separator.join(values): every value a string, or with `any` what str() makes of it. */
qa_tv qa_tv_join(qa_tv_run *run, const qa_tv_string *separator, qa_tv values, bool any);
/* Where it begins, in bytes from `text`, within text[from, to); SIZE_MAX: nowhere. */
size_t qa_tv_find(qa_tv_run *run, const qa_tv_string *text, const qa_tv_string *part, size_t from, size_t to,
                  bool last);
/* & < > ' " as HTML writes them. */
qa_tv qa_tv_escaped(qa_tv_run *run, const qa_tv_string *text);
/* The part text[from, to), in bytes. */
qa_tv qa_tv_part(qa_tv_run *run, const qa_tv_string *text, size_t from, size_t to);

#endif
