/* See base64.h. */
#include "base/base64.h"

#include "base/try.h"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

qa_status qa_base64_append(qa_text *text, const void *data, size_t bytes, qa_error *err) {
    const unsigned char *from = data;
    const size_t before = text->n;
    for (size_t i = 0; i < bytes; i += 3) {
        const size_t n = bytes - i < 3 ? bytes - i : 3;
        const unsigned three =
            (unsigned)from[i] << 16 | (n > 1 ? (unsigned)from[i + 1] << 8 : 0) | (n > 2 ? (unsigned)from[i + 2] : 0);
        const char four[4] = {base64_digits[three >> 18], base64_digits[three >> 12 & 63],
                              n > 1 ? base64_digits[three >> 6 & 63] : '=', n > 2 ? base64_digits[three & 63] : '='};
        const qa_status status = qa_text_append(text, four, sizeof four, err);
        if (status != QA_OK) {
            text->n = before;
            return status;
        }
    }
    return QA_OK;
}
