/*
 * Lists of blocks, in pages: a hundred thousand of them would hold the guard for too long. The client asks again with
 * the cursor that came with a page until there is none; what is there all the time comes exactly once. Sorting is the
 * client's.
 */
#include <string.h>
#include "base/clock.h"
#include "guard.h"

#define PAGE_BRIEF   500   /* blocks looked at for a page */
#define PAGE_FULL    250   /* likewise, with all of their fields */
#define PAGE_COUNTED 16384 /* likewise, when they are only counted */
#define PAGE_ENDED   500   /* rows of the journal */

struct filter {
    const char *origin, *match; /* NULL: any */
    bool by_net, count, brief;
    struct sk_prefix net;
    int64_t since;
};

struct page {
    const struct filter *f;
    json_t *list;
    json_int_t n; /* that fit */
};

static const char *text_of(const json_t *req, const char *key)
{
    return json_string_value(json_object_get(req, key));
}

static bool filter_of(const json_t *req, struct filter *f)
{
    const char *net = text_of(req, "net");
    *f = (struct filter){.origin = text_of(req, "origin"), .match = text_of(req, "match")};
    f->count = json_is_true(json_object_get(req, "count"));
    f->brief = json_is_true(json_object_get(req, "brief"));
    f->by_net = net != NULL;
    int64_t seconds = json_integer_value(json_object_get(req, "seconds"));
    int64_t now = sk_now_wall();
    f->since = seconds > 0 && seconds < now / SK_NS_PER_S ? now - seconds * SK_NS_PER_S : 0;
    return net == NULL || sk_prefix_parse(net, strlen(net), true, &f->net) == SK_OK;
}

static bool fits(const struct filter *f, const struct block *b)
{
    return (f->origin == NULL || strcmp(f->origin, block_origin_name((enum block_origin)b->origin)) == 0) &&
           (!f->by_net || sk_prefix_covers(&f->net, &b->target)) &&
           (f->match == NULL || strcasestr(guard_block_reason(b), f->match) != NULL);
}

static json_t *page_take(struct page *p, const struct block *b)
{
    if (!fits(p->f, b))
        return NULL;
    p->n++;
    if (p->f->count)
        return NULL;
    json_t *o = guard_block_json(b, p->f->brief);
    json_array_append_new(p->list, o);
    return o;
}

static void on_block(void *arg, struct block *b)
{
    (void)page_take((struct page *)arg, b);
}

static void on_ended(void *arg, const struct block *b, int64_t ended, enum journal_end why)
{
    json_t *o = page_take((struct page *)arg, b);
    if (o != NULL)
        guard_ended_json(o, b, ended, why);
}

/* NULL: that was the last page. */
static json_t *page_in_force(struct guard *g, const json_t *cursor, struct page *p)
{
    json_int_t from = json_integer_value(cursor);
    uint32_t at = from > 0 && from < UINT32_MAX ? (uint32_t)from : 0;
    if (at == 0)
        guard_block_hits(g);
    size_t most = p->f->count ? PAGE_COUNTED : p->f->brief ? PAGE_BRIEF : PAGE_FULL;
    bool more = block_table_scan(g->table, &at, most, on_block, p);
    return more ? json_integer(at) : NULL;
}

static json_t *page_ended(struct guard *g, const json_t *cursor, struct page *p)
{
    struct journal_cursor c = {.ended = json_integer_value(json_array_get(cursor, 0)),
                               .row = json_integer_value(json_array_get(cursor, 1))};
    if (journal_ended(g->journal, p->f->since, &c, PAGE_ENDED, on_ended, p) != SK_OK || c.end)
        return NULL;
    return json_pack("[I,I]", (json_int_t)c.ended, (json_int_t)c.row);
}

json_t *guard_list(struct guard *g, const json_t *req)
{
    struct filter f;
    const json_t *cursor = json_object_get(req, "cursor");
    if (!filter_of(req, &f))
        return json_pack("{s:b,s:s}", "ok", 0, "error", "not an address or network");
    struct page p = {.f = &f, .list = json_array()};
    bool history = json_is_true(json_object_get(req, "history"));
    json_t *next = history ? page_ended(g, cursor, &p) : page_in_force(g, cursor, &p);
    json_t *o = json_pack("{s:b,s:I,s:b}", "ok", 1, "count", p.n, "dry_run", (int)g->dry_run);
    json_object_set_new(o, "blocks", p.list);
    if (next != NULL)
        json_object_set_new(o, "cursor", next);
    return o;
}
