#include "base/diag.h"

#include <stdarg.h>
#include <stdio.h>

#define DIAG_TEXT_MAX 1024 /* longer texts are cut */

void sk_diag(const struct sk_diag_sink *sink, enum sk_diag_level level, const char *file, unsigned line, unsigned col,
             const char *fmt, ...)
{
    if (sink == NULL || sink->fn == NULL)
        return;
    char text[DIAG_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    struct sk_diag d = {.level = level, .file = file, .line = line, .col = col, .text = text};
    sink->fn(sink->arg, &d);
}

/* Findings quote what a person or a rule feed wrote: no control byte of it may reach the terminal. */
static void put_safe(const char *s)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f)
            fprintf(stderr, "\\x%02x", c);
        else
            fputc(c, stderr);
    }
}

static void print_stderr(void *arg, const struct sk_diag *d)
{
    static const char *const word[] = {"error", "unsupported", "warning", "note"};
    (void)arg;
    flockfile(stderr);
    if (d->file != NULL) {
        put_safe(d->file);
        if (d->line > 0)
            fprintf(stderr, ":%u", d->line);
        if (d->line > 0 && d->col > 0)
            fprintf(stderr, ":%u", d->col);
        fputs(": ", stderr);
    } else {
        fputs("sekisho: ", stderr);
    }
    fprintf(stderr, "%s: ", word[d->level]);
    put_safe(d->text);
    fputc('\n', stderr);
    funlockfile(stderr);
}

const struct sk_diag_sink sk_diag_stderr = {.fn = print_stderr};
