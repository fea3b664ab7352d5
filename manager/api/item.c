/* Items of a batch: every field is checked before the store sees it. Whose they are is not theirs to say. */
#include <stdio.h>
#include <stdlib.h>
#include "api_priv.h"

#define BLOCK_SLACK_MS 60000 /* by which an agent's clock may be ahead */
#define U32            INT64_C(4294967295)

const char *item_target_refused(const struct item_rules *rules, const struct sk_prefix *p)
{
    bool v4 = sk_addr_is_v4(&p->addr) && p->len >= 96;
    if (sk_addr_is_special(&p->addr))
        return "special address";
    if (v4 ? p->len < 96 + API_BITS_V4 : p->len < API_BITS_V6)
        return "too wide";
    for (size_t i = 0; i < rules->nnever; i++)
        if (sk_prefix_overlaps(&rules->never[i], p))
            return "on the never-list";
    return NULL;
}

static bool is_agents_width(const struct sk_prefix *p)
{
    return p->len >= (sk_addr_is_v4(&p->addr) ? 96 + API_AGENT_V4 : API_AGENT_V6);
}

static const char *copy(char *to, size_t cap, const char *from)
{
    snprintf(to, cap, "%s", from);
    return to;
}

static const char *read_event(const json_t *o, struct item *out)
{
    const json_t *e = json_object_get(o, "event");
    const char *type = NULL;
    if (!field_int(o, "time_ms", true, 0, API_JSON_INT_MAX, &out->event.time))
        return "time_ms";
    if (!json_is_object(e) || !field_str(e, "event_type", true, SET_WORD, sizeof(out->event.type) - 1, &type) ||
        type[0] < 'a')
        return "event_type";
    copy(out->event.type, sizeof(out->event.type), type);
    char *text = json_dumps(e, JSON_COMPACT);
    out->event.json = text;
    if (text == NULL || strlen(text) >= STORE_JSON_MAX)
        return "event too long";
    out->kind = ITEM_EVENT;
    return NULL;
}

static bool is_origin(const char *s)
{
    return strcmp(s, "rule") == 0 || strcmp(s, "operator") == 0 || strcmp(s, "kernel") == 0;
}

static bool read_numbers(const json_t *o, struct store_block *b)
{
    return field_int(o, "sid", false, 0, U32, &b->sid) && field_int(o, "gid", false, 0, U32, &b->gid) &&
           field_int(o, "score", false, 0, U32, &b->score) && field_int(o, "repeat", false, 0, U32, &b->repeat);
}

static bool read_texts(const json_t *o, struct store_block *b)
{
    const char *id = NULL, *origin = NULL, *cause = "", *reason = "";
    if (!field_str(o, "id", true, SET_ID, sizeof(b->id) - 1, &id) ||
        !field_str(o, "origin", true, SET_WORD, sizeof(b->origin) - 1, &origin) || !is_origin(origin) ||
        !field_str(o, "cause", false, SET_WORD, sizeof(b->cause) - 1, &cause) ||
        !field_str(o, "reason", false, SET_TEXT, sizeof(b->reason) - 1, &reason))
        return false;
    copy(b->id, sizeof(b->id), id);
    copy(b->origin, sizeof(b->origin), origin);
    copy(b->cause, sizeof(b->cause), cause);
    copy(b->reason, sizeof(b->reason), reason);
    return true;
}

/* How long is what is left of it: a block that is prolonged keeps the time at which it was made. */
static const char *read_block(const struct item_rules *rules, const json_t *o, int64_t now, struct item *out)
{
    struct store_block *b = &out->block;
    if (!field_prefix(o, "target", &b->target))
        return "target";
    if (!read_texts(o, b) || !read_numbers(o, b))
        return "field of a block";
    if (!field_int(o, "created_ms", true, 0, API_JSON_INT_MAX, &b->created) ||
        !field_int(o, "expires_ms", true, 0, API_JSON_INT_MAX, &b->expires) || b->expires <= b->created)
        return "times of a block";
    if (b->expires - now > rules->max_block + BLOCK_SLACK_MS)
        return "too long a block";
    const char *why = item_target_refused(rules, &b->target);
    if (why == NULL && !is_agents_width(&b->target))
        why = "too wide for an agent";
    if (why == NULL)
        out->kind = ITEM_BLOCK;
    return why;
}

static const char *read_end(const json_t *o, struct item *out)
{
    const char *id = NULL, *why = NULL;
    if (!field_str(o, "id", true, SET_ID, sizeof(out->block.id) - 1, &id) ||
        !field_str(o, "why", true, SET_WORD, sizeof(out->block.why) - 1, &why) ||
        !field_int(o, "ended_ms", true, 0, API_JSON_INT_MAX, &out->block.ended))
        return "field of an end";
    copy(out->block.id, sizeof(out->block.id), id);
    copy(out->block.why, sizeof(out->block.why), why);
    out->kind = ITEM_END;
    return NULL;
}

void item_read(const struct item_rules *rules, const json_t *o, int64_t now, struct item *out)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    out->kind = ITEM_WRONG;
    out->event = (struct store_event){0};
    out->block = (struct store_block){0};
    if (type != NULL && strcmp(type, "event") == 0)
        out->refused = read_event(o, out);
    else if (type != NULL && strcmp(type, "block") == 0)
        out->refused = read_block(rules, o, now, out);
    else if (type != NULL && strcmp(type, "end") == 0)
        out->refused = read_end(o, out);
    else
        out->refused = "type of an item";
}

void item_free(struct item *i)
{
    free((void *)(uintptr_t)i->event.json);
    i->event.json = NULL;
}
