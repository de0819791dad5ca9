/* print.c - what reaches the terminal: messages, progress, JSON, tables; the contract is in cli.h.
 * Order: messages, progress, results, texts of quantities. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/utf8.h"
#include "cli/cli.h"

static bool progress_shown;

static void wipe(void) {
    if (progress_shown) fputs("\r\033[K", stderr);
    progress_shown = false;
}

static void message(const cli_args *args, const char *format, va_list ap) {
    wipe();
    fflush(stdout); /* so that a message stands behind the results it follows where both go to one place */
    fprintf(stderr, "hone %s: ", args->verb->name);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
}

int cli_usage(const cli_args *args, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    message(args, format, ap);
    va_end(ap);
    return CLI_USAGE;
}

int cli_fail_text(const cli_args *args, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    message(args, format, ap);
    va_end(ap);
    return CLI_FAILED;
}

int cli_fail(const cli_args *args, const hone_error *err) {
    return cli_fail_text(args, "%s", err->message[0] ? err->message : hone_status_text(err->code));
}

void cli_say(const cli_args *args, const char *format, ...) {
    if (args->quiet) return;
    wipe();
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* Progress ---------------------------------------------------------------------------------------------------------*/

bool cli_terminal(void) {
    return isatty(STDERR_FILENO) == 1;
}

void cli_progress(const cli_args *args, const char *format, ...) {
    if (args->quiet || !cli_terminal()) return;
    wipe();
    if (!format) return;
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fflush(stderr);
    progress_shown = true;
}

/* Results ----------------------------------------------------------------------------------------------------------*/

int cli_print_json(const cli_args *args, json_t *value) {
    hone_buf text = {0};
    int rc = CLI_OK;
    if (!value || !hone_json_write(value, &text) || !hone_buf_char(&text, '\n')) {
        rc = cli_fail_text(args, "no memory for the result");
    } else {
        wipe();
        fwrite(text.data, 1, text.n, stdout);
    }
    hone_buf_free(&text);
    json_decref(value);
    return rc;
}

/* Columns on a terminal: code points, good enough for names and numbers. */
static uint32_t width(const char *text) {
    uint32_t n = 0;
    for (; text && *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void cli_table(const char *const *cells, uint32_t rows, uint32_t columns, const bool *right) {
    wipe();
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < columns; c++) {
            uint32_t widest = 0;
            for (uint32_t i = 0; i < rows; i++) {
                const uint32_t w = width(cells[(size_t)i * columns + c]);
                if (w > widest) widest = w;
            }
            const char *cell = cells[(size_t)r * columns + c] ? cells[(size_t)r * columns + c] : "";
            const int pad = (int)(widest - width(cell));
            if (right && right[c])
                printf("%*s%s", pad, "", cell);
            else if (c + 1 < columns)
                printf("%s%*s", cell, pad, "");
            else
                fputs(cell, stdout);
            if (c + 1 < columns) fputs("  ", stdout);
        }
        putchar('\n');
    }
}

/* Texts of quantities ----------------------------------------------------------------------------------------------*/

const char *cli_bytes(uint64_t bytes, char text[CLI_TEXT]) {
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    double x = (double)bytes;
    int u = 0;
    while (x >= 999.5 && u < 4) {
        x /= 1000.0;
        u++;
    }
    snprintf(text, CLI_TEXT, u == 0 || x >= 99.95 ? "%.0f %s" : "%.1f %s", x, unit[u]);
    return text;
}

const char *cli_seconds(double seconds, char text[CLI_TEXT]) {
    if (!(seconds >= 0) || seconds > 1e9)
        snprintf(text, CLI_TEXT, "?");
    else if (seconds < 59.5)
        snprintf(text, CLI_TEXT, seconds < 9.95 ? "%.1f s" : "%.0f s", seconds);
    else if (seconds < 3600)
        snprintf(text, CLI_TEXT, "%d min %02d s", (int)(seconds + 0.5) / 60, (int)(seconds + 0.5) % 60);
    else
        snprintf(text, CLI_TEXT, "%d h %02d min", (int)(seconds / 3600), (int)(fmod(seconds, 3600) / 60));
    return text;
}
