/* Dispatch to the kind of source. */
#include <stddef.h>
#include "internal.h"

int capture_recv(struct capture *c, struct capture_batch *b, int timeout_ms)
{
    b->n = 0;
    return c->ops->recv(c, b, timeout_ms);
}

void capture_release(struct capture *c, struct capture_batch *b)
{
    c->ops->release(c, b);
    b->n = 0;
}

const char *capture_error(const struct capture *c)
{
    return c->error;
}

void capture_count(struct capture *c, struct sk_counters *k)
{
    if (c->ops->count)
        c->ops->count(c, k);
}

void capture_close(struct capture *c)
{
    if (c)
        c->ops->close(c);
}
