/* Batches of events and blocks: taken once, in order, each item judged by itself. */
#include <stdlib.h>
#include "api_priv.h"
#include "base/log.h"

enum api_code check_events(struct req *r)
{
    const json_t *items = json_object_get(r->json, "items");
    if (!field_str(r->json, "spool", true, SET_SPOOL, STORE_SPOOL_LEN - 1, &r->in.spool) ||
        !field_int(r->json, "seq", true, 1, API_JSON_INT_MAX, &r->in.seq) || !json_is_array(items))
        return API_BAD_FIELD;
    return json_array_size(items) > API_ITEMS_MAX ? API_TOO_LARGE : API_FINE;
}

size_t ahead_events(const struct req *r, struct store_ask *asks)
{
    const json_t *o;
    size_t i, n = 0;
    if (asks != NULL)
        asks[n] = (struct store_ask){.agent = r->cert.agent, .spool = r->in.spool};
    n++;
    json_array_foreach(json_object_get(r->json, "items"), i, o)
    {
        const char *type = json_string_value(json_object_get(o, "type")), *id = NULL;
        bool about = type != NULL && (strcmp(type, "block") == 0 || strcmp(type, "end") == 0);
        if (!about || !field_str(o, "id", true, SET_ID, STORE_ID_LEN - 1, &id))
            continue;
        if (asks != NULL)
            asks[n] = (struct store_ask){.agent = r->cert.agent, .block = id};
        n++;
    }
    return n;
}

/* SK_ENOENT: it is refused after all. */
static int take_item(struct api *a, const struct req *r, struct item *it, int64_t now)
{
    struct store *s = a->work.store;
    int rc;
    switch (it->kind) {
    case ITEM_EVENT:
        memcpy(it->event.agent, r->cert.agent, sizeof(it->event.agent));
        return store_event_add(s, &it->event);
    case ITEM_BLOCK:
        rc = store_agent_may_block(s, r->cert.agent, a->o.max_blocks, now);
        if (rc == SK_EFULL) {
            it->refused = "more blocks than an agent has for a day (agents.max-blocks)";
            it->kind = ITEM_WRONG;
            return SK_ENOENT;
        }
        if (rc != SK_OK)
            return SK_EIO;
        memcpy(it->block.agent, r->cert.agent, sizeof(it->block.agent));
        a->work.changed = true;
        return store_block_put(s, &it->block, now);
    case ITEM_END: a->work.changed = true; return store_block_end(s, r->cert.agent, it->block.id, now, it->block.why);
    case ITEM_WRONG: break;
    }
    return SK_ENOENT;
}

static void tell(struct api *a, const struct req *r, const json_t *o)
{
    if (a->o.taken == NULL)
        return;
    char *text = json_dumps(o, JSON_COMPACT);
    if (text != NULL)
        a->o.taken(a->o.taken_arg, a->work.store, r->cert.agent, text);
    free(text);
}

static int take_items(struct api *a, struct req *r, unsigned *refused)
{
    const json_t *items = json_object_get(r->json, "items");
    int64_t now = now_ms();
    size_t i;
    json_t *o;
    struct item *it = (struct item *)malloc(sizeof(*it));
    int rc = it != NULL ? SK_OK : SK_EIO;
    for (i = 0; rc == SK_OK && i < json_array_size(items); i++) {
        o = json_array_get(items, i);
        item_read(&a->rules, o, now, it);
        rc = take_item(a, r, it, now);
        item_free(it);
        if (rc == SK_OK)
            tell(a, r, o);
        if (rc == SK_ENOENT || rc == SK_EINVAL) {
            r->detail = it->kind == ITEM_WRONG ? it->refused : "a block that is not known";
            *refused += 1;
            rc = SK_OK;
        }
    }
    free(it);
    return rc == SK_OK ? SK_OK : SK_EIO;
}

static void answer_gap(struct req *r, int64_t next)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, 512);
    sk_strbuf_printf(
        &b, "{\"error\":{\"code\":\"gap\",\"message\":\"Batches are missing before this one.\"},\"next\":%lld}",
        (long long)next);
    answer_json(r, MHD_HTTP_CONFLICT, &b);
    r->code = API_GAP;
}

static void answer_taken(struct req *r, bool duplicate, unsigned refused)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, 256);
    out_open(&b, NULL, '{');
    out_int(&b, "seq", r->in.seq);
    out_bool(&b, "duplicate", duplicate);
    out_int(&b, "refused", refused);
    out_close(&b, '}');
    answer_json(r, MHD_HTTP_OK, &b);
}

int run_events(struct api *a, struct req *r)
{
    int64_t next = 0;
    unsigned refused = 0;
    int rc = store_batch(a->work.store, r->cert.agent, r->in.spool, r->in.seq, &next);
    if (rc == SK_EPROTO) {
        count_add(&a->counts.gaps, 1);
        answer_gap(r, next);
        return SK_OK;
    }
    if (rc == SK_EEXIST) {
        count_add(&a->counts.duplicates, 1);
        answer_taken(r, true, 0);
        return SK_OK;
    }
    if (rc == SK_OK)
        rc = take_items(a, r, &refused);
    if (rc != SK_OK)
        return SK_EIO;
    size_t n = json_array_size(json_object_get(r->json, "items"));
    count_add(&a->counts.batches, 1);
    count_add(&a->counts.items, n - refused);
    count_add(&a->counts.items_refused, refused);
    const char *why = r->detail;
    answer_taken(r, false, refused);
    if (refused > 0 && sk_rate_take(&a->work.log_rate, 1, 20, sk_now_mono()))
        sk_log(SK_LOG_WARN, "api: agent %s: %u items refused, one of them: %s", r->cert.agent, refused, why);
    return SK_OK;
}
