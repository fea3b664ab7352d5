/*
 * Findings about input that a person wrote (configuration, rules): where and what. Line and column count from 1;
 * 0 means unknown. The text borrows; a sink that keeps it must copy.
 */
#ifndef BASE_DIAG_H
#define BASE_DIAG_H

#include "base/err.h"

enum sk_diag_level {
    SK_DIAG_ERROR,       /* wrong: no version of the language allows it */
    SK_DIAG_UNSUPPORTED, /* right, but this program cannot honour it: refused */
    SK_DIAG_WARN,
    SK_DIAG_NOTE
};

struct sk_diag {
    enum sk_diag_level level;
    const char *file;
    unsigned line, col;
    const char *text;
};

struct sk_diag_sink {
    void (*fn)(void *arg, const struct sk_diag *d);
    void *arg;
};

/* Formats and hands to the sink; a NULL sink or fn drops it. */
void sk_diag(const struct sk_diag_sink *sink, enum sk_diag_level level, const char *file, unsigned line, unsigned col,
             const char *fmt, ...) SK_PRINTF(6, 7);
/* A sink that prints "file:line:col: error: text" to standard error. */
extern const struct sk_diag_sink sk_diag_stderr;

#endif
