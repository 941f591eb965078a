/* Numbers with a decimal point, whatever locale the program has chosen.
 *
 * printf, strtod and jansson's parser follow the locale of the calling thread: where a program has called setlocale,
 * 0.5 may be written "0,5", which is no JSON. What is written into files and read from them is done between
 *
 *     const qa_c_locale before = qa_c_locale_enter();
 *     ...
 *     qa_c_locale_leave(before);
 *
 * which changes this thread's locale alone and changes it back. */
#ifndef QA_BASE_C_LOCALE_H
#define QA_BASE_C_LOCALE_H

#include <locale.h>

typedef struct qa_c_locale {
    locale_t before, c; /* c is (locale_t)0 when there was no memory for it: nothing has changed then */
} qa_c_locale;

static inline qa_c_locale qa_c_locale_enter(void) {
    qa_c_locale it = {.c = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    it.before = it.c == (locale_t)0 ? (locale_t)0 : uselocale(it.c);
    return it;
}

static inline void qa_c_locale_leave(qa_c_locale it) {
    if (it.c != (locale_t)0) {
        (void)uselocale(it.before);
        freelocale(it.c);
    }
}

#endif
