/* What the kinds of source have in common: a table of functions, and the text of the last failure. */
#ifndef CAPTURE_INTERNAL_H
#define CAPTURE_INTERNAL_H

#include "capture/capture.h"

#define CAPTURE_ERRLEN 256

struct capture_ops {
    int (*recv)(struct capture *c, struct capture_batch *b, int timeout_ms);
    void (*release)(struct capture *c, struct capture_batch *b);
    void (*count)(struct capture *c, struct sk_counters *k);
    void (*close)(struct capture *c);
};

/* First member of every kind of source. */
struct capture {
    const struct capture_ops *ops;
    char error[CAPTURE_ERRLEN];
};

#endif
