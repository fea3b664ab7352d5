/* A body as it comes to the manager's API: JSON, tags, and the items of a batch. What is taken keeps its promises. */
#include <stdlib.h>
#include "api_priv.h"

#define NOW INT64_C(1800000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct item_rules *rules(void)
{
    static struct sk_prefix never[2];
    static struct item_rules r = {.never = never, .nnever = 2, .max_block = 7 * INT64_C(86400000)};
    must(sk_prefix_parse("192.0.2.0/24", 12, false, &never[0]) == SK_OK);
    must(sk_prefix_parse("2001:db8::/48", 13, false, &never[1]) == SK_OK);
    return &r;
}

static void judge_block(const struct store_block *b)
{
    must(item_target_refused(rules(), &b->target) == NULL);
    must(b->expires > b->created && b->expires <= NOW + rules()->max_block + 60000);
    must(b->id[0] != '\0' && strlen(b->id) < sizeof(b->id) && b->agent[0] == '\0');
    must(text_fits(b->reason, strlen(b->reason), SET_TEXT, 0, sizeof(b->reason) - 1));
}

static void judge_event(const struct store_event *e)
{
    json_t *again = json_loads(e->json, 0, NULL);
    must(again != NULL && strlen(e->json) < STORE_JSON_MAX && e->type[0] >= 'a');
    json_decref(again);
}

static void judge_item(const json_t *o)
{
    static struct item it;
    item_read(rules(), o, NOW, &it);
    must((it.kind == ITEM_WRONG) == (it.refused != NULL));
    if (it.kind == ITEM_BLOCK)
        judge_block(&it.block);
    else if (it.kind == ITEM_EVENT)
        judge_event(&it.event);
    item_free(&it);
}

/* What is written of a text reads back as it was. */
static void judge_text(const json_t *o, const char *key)
{
    const char *s = NULL;
    if (!field_str(o, key, true, SET_ANY, 4096, &s))
        return;
    struct sk_strbuf b;
    sk_strbuf_init(&b, 1 << 16);
    out_open(&b, NULL, '{');
    out_str(&b, "x", s);
    out_close(&b, '}');
    json_t *again = json_loads(b.p, 0, NULL);
    must(again != NULL && strcmp(json_string_value(json_object_get(again, "x")), s) == 0);
    json_decref(again);
    sk_strbuf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *j = parse_json((const char *)data, size), *o;
    size_t i;
    char tags[STORE_TEXT_MAX];
    int64_t n;
    if (j == NULL)
        return 0;
    if (field_tags(j, "tags", tags)) {
        json_t *again = json_loads(tags, 0, NULL);
        must(json_is_object(again));
        json_decref(again);
    }
    must(!field_int(j, "seq", true, 1, API_JSON_INT_MAX, &n) || (n >= 1 && n <= API_JSON_INT_MAX));
    judge_text(j, "spool");
    json_array_foreach(json_object_get(j, "items"), i, o) judge_item(o);
    json_decref(j);
    return 0;
}
