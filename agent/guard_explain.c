/* A block as JSON: briefly for lists, and with all that is known of it. Text of others is escaped here. */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/escape.h"
#include "guard.h"

#define EARLIER_MAX 10 /* blocks of the same target that are shown beside one */

static json_t *time_json(int64_t ns)
{
    char buf[40];
    return json_string(sk_time_format(ns, buf));
}

static json_t *prefix_json(const struct sk_prefix *p)
{
    char buf[SK_PREFIX_STRLEN];
    return json_string(sk_prefix_format(p, buf));
}

static json_t *addr_json(const struct sk_addr *a)
{
    char buf[SK_ADDR_STRLEN];
    return json_string(sk_addr_format(a, buf));
}

static json_t *u64_json(uint64_t v)
{
    return json_integer((json_int_t)(v > INT64_MAX ? INT64_MAX : v));
}

static json_t *packet_json(const struct block *b)
{
    json_t *o = json_object();
    json_object_set_new(o, "time", time_json(b->packet_ts));
    if (b->packet != 0)
        json_object_set_new(o, "number", u64_json(b->packet));
    json_object_set_new(o, "proto", json_integer(b->proto));
    json_object_set_new(o, "src_ip", addr_json(&b->src));
    json_object_set_new(o, "src_port", json_integer(b->sport));
    json_object_set_new(o, "dest_ip", addr_json(&b->dst));
    json_object_set_new(o, "dest_port", json_integer(b->dport));
    json_object_set_new(o, "flow_id", json_integer((json_int_t)(b->flow_id & ((UINT64_C(1) << 53) - 1))));
    json_object_set_new(o, "direction", json_string(b->to_server ? "to_server" : "to_client"));
    json_object_set_new(o, "dropped", json_boolean(b->dropped));
    return o;
}

static json_t *hits_json(const struct block *b)
{
    return json_pack("{s:o,s:o}", "packets", u64_json(b->hit_packets), "bytes", u64_json(b->hit_bytes));
}

static json_t *nft_json(const struct block *b)
{
    bool v4 = sk_addr_is_v4(&b->target.addr), host = block_is_host(b);
    const char *set = v4 ? (host ? "block4" : "block4p") : (host ? "block6" : "block6p");
    json_t *o = hits_json(b);
    json_object_set_new(o, "table", json_string("inet " NFT_TABLE_NAME));
    json_object_set_new(o, "set", json_string(set));
    json_object_set_new(o, "element", prefix_json(&b->target));
    return o;
}

/* What the fleet says of it; its texts are plain. */
static json_t *fleet_json(const struct block *b)
{
    const struct block_fleet *f = b->fleet;
    json_t *o = json_pack("{s:s,s:s,s:s}", "host", f->host, "id", f->id, "reason", f->reason);
    json_object_set_new(o, "created", time_json(f->created));
    json_object_set_new(o, "expires", time_json(f->expires));
    if (f->sid != 0) {
        json_object_set_new(o, "signature_id", json_integer(f->sid));
        json_object_set_new(o, "gid", json_integer(f->gid));
    }
    return o;
}

static void put_fleet(json_t *o, const struct block *b)
{
    if (b->fleet == NULL)
        return;
    json_object_set_new(o, "fleet", fleet_json(b));
    if (b->own != 0)
        json_object_set_new(o, "own_expires", time_json(b->own));
}

/* The fleet may mean another host's block by now than it did first. */
const char *guard_block_reason(const struct block *b)
{
    return b->origin == BLOCK_FLEET && b->fleet != NULL ? b->fleet->reason : b->msg;
}

static void put_cause(json_t *o, const struct block *b)
{
    char text[4 * DECIDE_EVIDENCE_MAX + 8];
    if (b->origin == BLOCK_RULE)
        json_object_set_new(o, "cause", json_string(decide_reason_name((enum decide_reason)b->reason)));
    json_object_set_new(o, "repeat", json_integer(b->repeat));
    if (b->sid == 0 || b->origin == BLOCK_FLEET) /* the evidence is on the other host */
        return;
    json_object_set_new(o, "signature_id", json_integer(b->sid));
    json_object_set_new(o, "gid", json_integer(b->gid));
    json_object_set_new(o, "rev", json_integer(b->rev));
    json_object_set_new(o, "packet", packet_json(b));
    sk_escape(text, sizeof(text), sk_span_of(b->evidence, b->evidence_len));
    json_object_set_new(o, "evidence", json_string(text));
}

json_t *guard_block_json(const struct block *b, bool brief)
{
    char text[4 * DECIDE_MSG_MAX + 8];
    json_t *o = json_object();
    json_object_set_new(o, "id", json_string(b->id));
    json_object_set_new(o, "target", prefix_json(&b->target));
    json_object_set_new(o, "origin", json_string(block_origin_name((enum block_origin)b->origin)));
    json_object_set_new(o, "dry_run", json_boolean(b->dry_run));
    sk_escape(text, sizeof(text), sk_span_str(guard_block_reason(b)));
    json_object_set_new(o, "reason", json_string(text));
    json_object_set_new(o, "created", time_json(b->created));
    json_object_set_new(o, "expires", time_json(b->expires));
    int64_t left = (b->expires - sk_now_wall() + SK_NS_PER_S - 1) / SK_NS_PER_S;
    json_object_set_new(o, "seconds_left", json_integer(left > 0 ? left : 0));
    if (!brief) {
        json_object_set_new(o, "requests", json_integer(b->requests));
        put_cause(o, b);
        put_fleet(o, b);
    }
    json_object_set_new(o, "nft", brief ? hits_json(b) : nft_json(b));
    return o;
}

void guard_ended_json(json_t *o, const struct block *b, int64_t ended, enum journal_end why)
{
    json_object_set_new(o, "ended", time_json(ended));
    json_object_set_new(o, "ended_why", json_string(journal_end_name(why)));
    json_object_del(o, "nft");
    json_object_set_new(o, "hits", hits_json(b));
    json_object_set_new(o, "seconds_left", json_integer(0));
}

/* ---- who it is ---- */

/* What a hop vouches with shows in how the next address became known. */
static bool by_proxy_protocol(uint8_t next_source)
{
    return next_source == IDENTITY_BY_PROXY1 || next_source == IDENTITY_BY_PROXY2;
}

/* The narrowest entry of the configuration as it is now; NULL: none holds it any more. */
static const struct sk_prefix *trusted_by(const struct conf_prefixes *list, const struct sk_addr *a)
{
    const struct sk_prefix *best = NULL;
    for (uint32_t i = 0; i < list->n; i++)
        if (sk_prefix_contains(&list->v[i], a) && (best == NULL || list->v[i].len > best->len))
            best = &list->v[i];
    return best;
}

static json_t *hop_json(const struct conf *conf, const struct identity_hop *h, uint8_t next_source)
{
    bool proxy = by_proxy_protocol(next_source);
    const struct sk_prefix *p = trusted_by(proxy ? &conf->proxies.proxy_protocol : &conf->proxies.http, &h->addr);
    json_t *o = json_pack("{s:o,s:s,s:s}", "address", addr_json(&h->addr), "known_by",
                          identity_source_name((enum identity_source)h->source), "trusted_as",
                          proxy ? "proxy-protocol" : "http");
    json_object_set_new(o, "trusted_by", p != NULL ? prefix_json(p) : json_null());
    return o;
}

static json_t *client_json(const struct guard *g, const struct block *b)
{
    struct identity id;
    block_identity(b, &id);
    json_t *o = json_pack("{s:s,s:o,s:s}", "state", identity_state_name((enum identity_state)id.state), "address",
                          addr_json(&id.client), "known_by", identity_source_name((enum identity_source)id.source));
    if (id.port != 0)
        json_object_set_new(o, "port", json_integer(id.port));
    json_t *hops = json_array();
    for (unsigned i = 0; i < id.nhops; i++)
        json_array_append_new(
            hops, hop_json(g->conf, &id.hop[i], i + 1 < (unsigned)id.nhops ? id.hop[i + 1].source : id.source));
    json_object_set_new(o, "hops", hops);
    return o;
}

/* ---- what led to it ---- */

static json_t *score_json(const struct block *b)
{
    json_t *items = json_array();
    for (unsigned i = 0; i < b->nscores; i++) {
        const struct decide_score_item *s = &b->scores[i];
        json_array_append_new(items, json_pack("{s:o,s:I,s:I,s:I}", "time", time_json(s->ts), "gid", (json_int_t)s->gid,
                                               "signature_id", (json_int_t)s->sid, "points", (json_int_t)s->points));
    }
    return json_pack("{s:I,s:I,s:o}", "points", (json_int_t)b->score, "threshold", (json_int_t)b->threshold, "alerts",
                     items);
}

static void put_decision(const struct guard *g, json_t *o, const struct block *b)
{
    if (b->origin != BLOCK_RULE)
        return;
    json_object_set_new(o, "client", client_json(g, b));
    if (b->reason == DECIDE_BY_SCORE)
        json_object_set_new(o, "score", score_json(b));
    if (b->reason == DECIDE_BY_FLOOD)
        json_object_set_new(o, "flood",
                            json_pack("{s:I,s:I}", "rate", (json_int_t)b->score, "limit", (json_int_t)b->threshold));
}

/* ---- what was before ---- */

struct earlier {
    json_t *list;
    const char *but; /* ID of the one that is explained */
};

static void on_earlier(void *arg, const struct block *b, int64_t ended, enum journal_end why)
{
    struct earlier *e = (struct earlier *)arg;
    if (ended == 0 || strcmp(b->id, e->but) == 0 || json_array_size(e->list) == EARLIER_MAX)
        return;
    char text[4 * DECIDE_MSG_MAX + 8];
    sk_escape(text, sizeof(text), sk_span_str(b->msg));
    json_t *o =
        json_pack("{s:s,s:s,s:o,s:o,s:s,s:s,s:b}", "id", b->id, "origin",
                  block_origin_name((enum block_origin)b->origin), "created", time_json(b->created), "ended",
                  time_json(ended), "ended_why", journal_end_name(why), "reason", text, "dry_run", (int)b->dry_run);
    json_object_set_new(o, "hits", hits_json(b));
    json_array_append_new(e->list, o);
}

static json_t *explained(struct guard *g, const struct block *b)
{
    json_t *o = guard_block_json(b, false);
    put_decision(g, o, b);
    json_object_set_new(o, "reported", json_pack("{s:s}", "state", "no-manager"));
    struct earlier e = {.list = json_array(), .but = b->id};
    (void)!journal_target(g->journal, &b->target, EARLIER_MAX + 2, on_earlier, &e);
    json_object_set_new(o, "earlier", e.list);
    return o;
}

struct ended {
    struct guard *g;
    json_t *o;
};

static void on_ended(void *arg, const struct block *b, int64_t ended, enum journal_end why)
{
    struct ended *e = (struct ended *)arg;
    if (e->o != NULL || ended == 0)
        return;
    e->o = explained(e->g, b);
    guard_ended_json(e->o, b, ended, why);
}

/* The last block that ended, of the address or network itself or of the narrowest network around it. */
static void last_of(struct ended *e, const struct sk_prefix *p)
{
    unsigned least = sk_addr_is_v4(&p->addr) && p->len >= 96 ? 96 : 0;
    for (unsigned len = p->len + 1u; e->o == NULL && len-- > least;) {
        struct sk_prefix wide = sk_prefix_make(&p->addr, (uint8_t)len);
        (void)!journal_target(e->g->journal, &wide, 1, on_ended, e);
    }
}

json_t *guard_explain(struct guard *g, const char *what)
{
    struct sk_prefix p;
    bool address = sk_prefix_parse(what, strlen(what), true, &p) == SK_OK;
    struct block *b = address ? block_table_covering(g->table, &p) : block_table_find_id(g->table, what);
    if (b != NULL) {
        (void)!enforcer_refresh(g->enforcer, b, sk_now_wall());
        return explained(g, b);
    }
    struct ended e = {.g = g};
    if (address)
        last_of(&e, &p);
    else
        (void)!journal_history(g->journal, what, 1, on_ended, &e);
    return e.o;
}
