/* What a message may show of a hostile file: one line without control characters, cut between characters. */
#ifndef QA_BASE_PLAIN_LINE_H
#define QA_BASE_PLAIN_LINE_H

#include <stddef.h>
#include <stdint.h>

/* Copies `text` into line[capacity], capacity >= 1, zero-terminated and always valid UTF-8. What could move a
 * terminal's cursor, colour it, break the line or turn its direction (control characters, line separators, marks of
 * direction) and every byte that is not UTF-8 is written as an escape: \n, \t, \x1b, \u202e. A text that is too long
 * ends before the first character or escape that does not fit whole. Returns the bytes written. A line that went
 * through once goes through again unchanged. */
size_t qa_plain_line(char *line, size_t capacity, const char *text);

/* Bytes of the UTF-8 character at text[bytes], bytes > 0, and the character; 0 when there is none: overlong forms,
 * surrogates, values beyond U+10FFFF, a character that is cut short. */
size_t qa_character_at(const char *text, size_t bytes, uint32_t *character);

/* The largest n <= limit such that text[n] does not begin within a character: for "%.*s". */
size_t qa_whole_characters(const char *text, size_t bytes, size_t limit);

#endif
