#include "journal_json.h"

#include <jansson.h>
#include <stdio.h>

static json_t *addr_json(const struct sk_addr *a)
{
    char buf[SK_ADDR_STRLEN];
    return json_string(sk_addr_format(a, buf));
}

static json_t *source_json(uint8_t source)
{
    return json_string(identity_source_name((enum identity_source)source));
}

static char *to_text(json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}

char *journal_identity_text(const struct block *b)
{
    const struct block_chain *c = b->chain;
    if (!c)
        return NULL;
    json_t *hops = json_array();
    for (unsigned i = 0; i < c->nhops; i++)
        json_array_append_new(hops, json_pack("{s:o,s:o}", "address", addr_json(&c->hop[i].addr), "source",
                                              source_json(c->hop[i].source)));
    return to_text(json_pack("{s:s,s:o,s:i,s:o,s:o}", "state", identity_state_name(IDENTITY_PROVEN), "client",
                             addr_json(&c->client), "port", (int)c->port, "source", source_json(c->source), "hops",
                             hops));
}

char *journal_scores_text(const struct block *b)
{
    if (b->nscores == 0)
        return NULL;
    json_t *a = json_array();
    for (unsigned i = 0; i < b->nscores; i++) {
        const struct decide_score_item *s = &b->scores[i];
        json_array_append_new(a, json_pack("{s:I,s:I,s:I,s:I}", "ts", (json_int_t)s->ts, "gid", (json_int_t)s->gid,
                                           "sid", (json_int_t)s->sid, "points", (json_int_t)s->points));
    }
    return to_text(a);
}

char *journal_fleet_text(const struct block *b)
{
    const struct block_fleet *f = b->fleet;
    if (!f)
        return NULL;
    return to_text(json_pack("{s:I,s:I,s:s,s:s,s:s,s:I,s:I}", "created", (json_int_t)f->created, "expires",
                             (json_int_t)f->expires, "id", f->id, "host", f->host, "reason", f->reason, "sid",
                             (json_int_t)f->sid, "gid", (json_int_t)f->gid));
}

static bool addr_of(const json_t *o, const char *key, struct sk_addr *out)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s && sk_addr_parse(s, strlen(s), out) == SK_OK;
}

static bool source_of(const json_t *o, uint8_t *out)
{
    const char *s = json_string_value(json_object_get(o, "source"));
    for (unsigned i = 0; s && i < IDENTITY_SOURCE_COUNT; i++) {
        *out = (uint8_t)i;
        if (strcmp(s, identity_source_name((enum identity_source)i)) == 0)
            return true;
    }
    return false;
}

/* Numbers that are too large for their place become 0. */
static uint32_t u32_of(const json_t *o, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(o, key));
    return v >= 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

static bool read_hops(const json_t *hops, struct identity *id)
{
    size_t i;
    const json_t *h;
    if (json_array_size(hops) > IDENTITY_HOPS_MAX)
        return false;
    json_array_foreach(hops, i, h)
    {
        if (!addr_of(h, "address", &id->hop[i].addr) || !source_of(h, &id->hop[i].source))
            return false;
        id->nhops++;
    }
    return true;
}

void journal_identity_read(const char *text, struct decide_request *q)
{
    struct identity id = {.state = IDENTITY_PROVEN};
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    uint32_t port = u32_of(o, "port");
    id.port = port <= UINT16_MAX ? (uint16_t)port : 0;
    if (addr_of(o, "client", &id.client) && source_of(o, &id.source) && read_hops(json_object_get(o, "hops"), &id) &&
        identity_valid(&id))
        q->identity = id;
    json_decref(o);
}

void journal_scores_read(const char *text, struct decide_request *q)
{
    json_t *a = text ? json_loads(text, 0, NULL) : NULL;
    for (size_t i = 0; i < DECIDE_SCORES_MAX && i < json_array_size(a); i++) {
        const json_t *s = json_array_get(a, i);
        q->scores[i] = (struct decide_score_item){.ts = json_integer_value(json_object_get(s, "ts")),
                                                  .gid = u32_of(s, "gid"),
                                                  .sid = u32_of(s, "sid"),
                                                  .points = u32_of(s, "points")};
    }
    json_decref(a);
}

static void text_of(const json_t *o, const char *key, char *buf, size_t cap)
{
    const char *s = json_string_value(json_object_get(o, key));
    snprintf(buf, cap, "%s", s ? s : "");
}

bool journal_fleet_read(const char *text, struct block_fleet *f)
{
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    *f = (struct block_fleet){.created = json_integer_value(json_object_get(o, "created")),
                              .expires = json_integer_value(json_object_get(o, "expires")),
                              .sid = u32_of(o, "sid"),
                              .gid = u32_of(o, "gid")};
    text_of(o, "id", f->id, sizeof f->id);
    text_of(o, "host", f->host, sizeof f->host);
    text_of(o, "reason", f->reason, sizeof f->reason);
    json_decref(o);
    return f->expires > 0;
}
