/* Frames from memory, for tests. */
#include <stdlib.h>
#include "internal.h"

struct fake_frame {
    struct fake_frame *next;
    int64_t ts;
    uint32_t len;
    uint8_t data[];
};

struct fake {
    struct capture base;
    int linktype;
    uint64_t number;
    struct fake_frame *head, **tail; /* pushed and not yet lent */
    struct fake_frame *lent;
};

static void free_list(struct fake_frame *f)
{
    while (f) {
        struct fake_frame *next = f->next;
        free(f);
        f = next;
    }
}

static int fake_recv(struct capture *c, struct capture_batch *b, int timeout_ms)
{
    struct fake *k = (struct fake *)c;
    (void)timeout_ms;
    while (k->head && b->n < CAPTURE_BATCH) {
        struct fake_frame *f = k->head;
        k->head = f->next;
        b->f[b->n++] = (struct sk_frame){.data = f->data,
                                         .caplen = f->len,
                                         .wirelen = f->len,
                                         .ts = f->ts,
                                         .number = ++k->number,
                                         .linktype = k->linktype};
        f->next = k->lent;
        k->lent = f;
    }
    if (!k->head)
        k->tail = &k->head;
    return b->n > 0 ? SK_OK : SK_EEND;
}

static void fake_release(struct capture *c, struct capture_batch *b)
{
    struct fake *k = (struct fake *)c;
    (void)b;
    free_list(k->lent);
    k->lent = NULL;
}

static void fake_close(struct capture *c)
{
    struct fake *k = (struct fake *)c;
    free_list(k->head);
    free_list(k->lent);
    free(k);
}

static const struct capture_ops fake_ops = {.recv = fake_recv, .release = fake_release, .close = fake_close};

struct capture *capture_open_fake(int linktype)
{
    struct fake *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->base.ops = &fake_ops;
    k->linktype = linktype;
    k->tail = &k->head;
    return &k->base;
}

int capture_fake_push(struct capture *c, const void *data, uint32_t len, int64_t ts)
{
    struct fake *k = (struct fake *)c;
    struct fake_frame *f = malloc(sizeof *f + len);
    if (!f)
        return SK_ENOMEM;
    f->next = NULL;
    f->ts = ts;
    f->len = len;
    if (len > 0)
        memcpy(f->data, data, len);
    *k->tail = f;
    k->tail = &f->next;
    return SK_OK;
}
