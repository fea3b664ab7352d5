#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/hash.h"
#include "waf_priv.h"

void waf_note(struct waf *w, const char *what, const char *fmt, ...)
{
    char buf[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if (w->world.note)
        w->world.note(w->world.ctx, what, buf);
}

int64_t waf_backoff(struct waf *w, unsigned n, int64_t base, int64_t most)
{
    unsigned shift = n < 1 ? 0 : n > 20 ? 19 : n - 1;
    int64_t top = base > most >> shift ? most : base << shift;
    w->rng += UINT64_C(0x9e3779b97f4a7c15);
    return (int64_t)(sk_mix64(w->rng) % (uint64_t)(top + 1));
}

void waf_answer_free(struct aws_answer *e)
{
    aws_answer_free(e);
}

void waf_set_clear(struct wafv2_set *s)
{
    wafv2_set_clear(s);
}
