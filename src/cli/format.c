/* See format.h. */
#include "cli/format.h"

#include "base/plain_line.h"

#include <math.h>
#include <stdio.h>

enum { CLI_PLAIN_BYTES = 1 << 14 }; /* the longest line of a table */

void cli_format_count(char *buffer, size_t bytes, size_t value) {
    char digits[CLI_NUMBER_BYTES];
    const int n = snprintf(digits, sizeof digits, "%zu", value);
    size_t used = 0;
    for (int i = 0; i < n && used + 2 < bytes; i++) {
        if (i > 0 && (n - i) % 3 == 0) {
            buffer[used++] = ',';
        }
        buffer[used++] = digits[i];
    }
    buffer[used] = '\0';
}

void cli_format_bytes(char *buffer, size_t bytes, size_t value) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (value < 1024) {
        (void)snprintf(buffer, bytes, "%zu bytes", value);
        return;
    }
    double scaled = (double)value / 1024.0;
    size_t unit = 0;
    while (scaled >= 1024.0 && unit + 1 < sizeof units / sizeof units[0]) {
        scaled /= 1024.0;
        unit++;
    }
    (void)snprintf(buffer, bytes, scaled < 10.0 ? "%.2f %s" : "%.1f %s", scaled, units[unit]);
}

void cli_format_duration(char *buffer, size_t bytes, double seconds) {
    if (!isfinite(seconds) || seconds < 0.0 || seconds > 1e9) {
        (void)snprintf(buffer, bytes, "?");
        return;
    }
    const unsigned long whole = (unsigned long)(seconds + 0.5);
    if (whole < 60) {
        (void)snprintf(buffer, bytes, "%lus", whole);
    } else if (whole < 3600) {
        (void)snprintf(buffer, bytes, "%lum %02lus", whole / 60, whole % 60);
    } else {
        (void)snprintf(buffer, bytes, "%luh %02lum", whole / 3600, whole / 60 % 60);
    }
}

const char *cli_plural(size_t count) { return count == 1 ? "" : "s"; }

void cli_put_plain(FILE *to, const char *text) {
    char line[CLI_PLAIN_BYTES];
    (void)qa_plain_line(line, sizeof line, text);
    fputs(line, to);
}
