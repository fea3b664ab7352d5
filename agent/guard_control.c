/* What the command line asks of the guard. Reading is for all who may open the socket; changing is for root. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/escape.h"
#include "base/log.h"
#include "guard.h"

#define HISTORY_DEPTH 1

static json_t *fail(const char *text)
{
    return json_pack("{s:b,s:s}", "ok", 0, "error", text);
}

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

static json_t *packet_json(const struct block *b)
{
    char src[SK_ADDR_STRLEN], dst[SK_ADDR_STRLEN];
    json_t *o = json_object();
    json_object_set_new(o, "time", time_json(b->packet_ts));
    json_object_set_new(o, "proto", json_integer(b->proto));
    json_object_set_new(o, "src_ip", json_string(sk_addr_format(&b->src, src)));
    json_object_set_new(o, "src_port", json_integer(b->sport));
    json_object_set_new(o, "dest_ip", json_string(sk_addr_format(&b->dst, dst)));
    json_object_set_new(o, "dest_port", json_integer(b->dport));
    json_object_set_new(o, "flow_id", json_integer((json_int_t)(b->flow_id & ((UINT64_C(1) << 53) - 1))));
    json_object_set_new(o, "direction", json_string(b->to_server ? "to_server" : "to_client"));
    json_object_set_new(o, "dropped", json_boolean(b->dropped));
    return o;
}

static json_t *nft_json(const struct block *b)
{
    bool v4 = sk_addr_is_v4(&b->target.addr), host = block_is_host(b);
    const char *set = v4 ? (host ? "block4" : "block4p") : (host ? "block6" : "block6p");
    json_t *o = json_object();
    json_object_set_new(o, "table", json_string("inet " NFT_TABLE_NAME));
    json_object_set_new(o, "set", json_string(set));
    json_object_set_new(o, "element", prefix_json(&b->target));
    json_object_set_new(o, "packets", json_integer((json_int_t)b->hit_packets));
    json_object_set_new(o, "bytes", json_integer((json_int_t)b->hit_bytes));
    return o;
}

json_t *guard_block_json(const struct block *b)
{
    char text[4 * DECIDE_EVIDENCE_MAX + 8];
    json_t *o = json_object();
    json_object_set_new(o, "id", json_string(b->id));
    json_object_set_new(o, "target", prefix_json(&b->target));
    json_object_set_new(o, "origin", json_string(block_origin_name((enum block_origin)b->origin)));
    sk_escape(text, sizeof(text), sk_span_str(b->msg));
    json_object_set_new(o, "reason", json_string(text));
    json_object_set_new(o, "created", time_json(b->created));
    json_object_set_new(o, "expires", time_json(b->expires));
    int64_t left = (b->expires - sk_now_wall() + SK_NS_PER_S - 1) / SK_NS_PER_S;
    json_object_set_new(o, "seconds_left", json_integer(left > 0 ? left : 0));
    json_object_set_new(o, "requests", json_integer(b->requests));
    if (b->sid != 0) {
        json_object_set_new(o, "signature_id", json_integer(b->sid));
        json_object_set_new(o, "gid", json_integer(b->gid));
        json_object_set_new(o, "rev", json_integer(b->rev));
        json_object_set_new(o, "packet", packet_json(b));
        sk_escape(text, sizeof(text), sk_span_of(b->evidence, b->evidence_len));
        json_object_set_new(o, "evidence", json_string(text));
    }
    json_object_set_new(o, "nft", nft_json(b));
    return o;
}

static json_t *do_status(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    (void)req;
    json_t *o = json_pack("{s:b}", "ok", 1);
    json_object_set_new(o, "status", guard_status_json(g));
    return o;
}

static json_t *do_blocks(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    (void)req;
    guard_block_hits(g);
    json_t *a = json_array();
    for (size_t i = 0; i < block_table_count(g->table); i++)
        json_array_append_new(a, guard_block_json(block_table_at(g->table, i)));
    json_t *o = json_pack("{s:b}", "ok", 1);
    json_object_set_new(o, "blocks", a);
    return o;
}

static const char *text_of(const json_t *req, const char *key)
{
    const char *s = json_string_value(json_object_get(req, key));
    return s != NULL ? s : "";
}

static json_t *refused(const struct enforce_outcome *out)
{
    char buf[160];
    if (out->result == ENFORCE_REFUSED_NEVER)
        snprintf(buf, sizeof(buf), "refused: on the never-list (%s: %s)", never_kind_name(out->never->kind),
                 out->never->text);
    else if (out->result == ENFORCE_REFUSED_INVALID)
        snprintf(buf, sizeof(buf), "refused: %s", policy_verdict_text(out->why));
    else
        snprintf(buf, sizeof(buf), "refused: %s", enforce_result_name(out->result));
    return fail(buf);
}

static json_t *do_block(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    struct decide_request q = {0};
    struct enforce_outcome out;
    const char *addr = text_of(req, "target"), *reason = text_of(req, "reason");
    if (sk_prefix_parse(addr, strlen(addr), false, &q.target) != SK_OK)
        return fail("not an address or network");
    q.seconds = json_integer_value(json_object_get(req, "seconds"));
    q.ts = sk_now_wall();
    q.src = q.target.addr;
    snprintf(q.msg, sizeof(q.msg), "%s", reason[0] != '\0' ? reason : "by an operator");
    enforcer_request(g->enforcer, &q, BLOCK_OPERATOR, q.ts, &out);
    if (out.block == NULL)
        return refused(&out);
    int rc = enforcer_flush(g->enforcer, sk_now_wall());
    json_t *o = json_pack("{s:b,s:s}", "ok", 1, "result", enforce_result_name(out.result));
    json_object_set_new(o, "block", guard_block_json(out.block));
    if (rc != SK_OK)
        json_object_set_new(o, "warning", json_string("the kernel did not take it yet; it is tried again"));
    else if (q.seconds > g->limits.max_seconds)
        json_object_set_new(o, "warning", json_string("cut down to decide.max-block-duration"));
    return o;
}

/* Perhaps a wider block is what was meant. */
static json_t *no_such_block(const struct guard *g, const char *what)
{
    char buf[160], wide[SK_PREFIX_STRLEN];
    struct sk_prefix p;
    if (sk_prefix_parse(what, strlen(what), true, &p) != SK_OK)
        return fail("there is no such block");
    const struct block *b = block_table_covering(g->table, &p);
    if (b == NULL)
        return fail("there is no block of this address or network");
    snprintf(buf, sizeof(buf), "it has no block of its own; it lies in %s, which is blocked (%s)",
             sk_prefix_format(&b->target, wide), b->id);
    return fail(buf);
}

static json_t *do_unblock(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    const char *what = text_of(req, "target");
    struct sk_prefix p;
    int rc;
    if (sk_prefix_parse(what, strlen(what), false, &p) == SK_OK)
        rc = enforcer_unblock(g->enforcer, &p, sk_now_wall());
    else
        rc = enforcer_unblock_id(g->enforcer, what, sk_now_wall());
    if (rc != SK_OK)
        return no_such_block(g, what);
    if (enforcer_flush(g->enforcer, sk_now_wall()) != SK_OK)
        return fail("the kernel did not take it yet; it is tried again");
    return json_pack("{s:b}", "ok", 1);
}

static void on_history(void *arg, const struct block *b, int64_t ended, enum journal_end why)
{
    json_t **o = (json_t **)arg;
    if (*o != NULL)
        return;
    *o = guard_block_json(b);
    if (ended != 0) {
        json_object_set_new(*o, "ended", time_json(ended));
        json_object_set_new(*o, "ended_why", json_string(journal_end_name(why)));
        json_object_del(*o, "nft");
        json_object_set_new(*o, "seconds_left", json_integer(0));
    }
}

static json_t *do_explain(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    const char *block_id = text_of(req, "id");
    json_t *block = NULL;
    struct sk_prefix p;
    struct block *b = block_table_find_id(g->table, block_id);
    if (b == NULL && sk_prefix_parse(block_id, strlen(block_id), true, &p) == SK_OK)
        b = block_table_covering(g->table, &p);
    if (b != NULL) {
        (void)!enforcer_refresh(g->enforcer, b, sk_now_wall());
        block = guard_block_json(b);
    } else if (g->journal != NULL)
        (void)!journal_history(g->journal, block_id, HISTORY_DEPTH, on_history, &block);
    if (block == NULL)
        return no_such_block(g, block_id);
    json_t *o = json_pack("{s:b}", "ok", 1);
    json_object_set_new(o, "block", block);
    return o;
}

static json_t *do_reload(struct guard *g, uint64_t id, const json_t *req)
{
    char why[256];
    (void)req;
    if (guard_reload(g, id, why, sizeof(why)) != SK_OK)
        return fail(why);
    return NULL; /* answered when the engine has loaded */
}

static json_t *do_stop(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    (void)req;
    guard_stop(g, "asked to");
    return json_pack("{s:b}", "ok", 1);
}

static const struct {
    const char *verb;
    bool root; /* changes something */
    json_t *(*fn)(struct guard *g, uint64_t id, const json_t *req);
} verbs[] = {
    {"status", false, do_status}, {"blocks", false, do_blocks},  {"explain", false, do_explain},
    {"block", true, do_block},    {"unblock", true, do_unblock}, {"reload", true, do_reload},
    {"stop", true, do_stop},
};

json_t *guard_control(void *arg, uint64_t id, const struct ipc_peer *peer, const json_t *request)
{
    struct guard *g = (struct guard *)arg;
    const char *verb = text_of(request, "verb");
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verb, verbs[i].verb) != 0)
            continue;
        if (verbs[i].root && peer->uid != 0)
            return fail("only root may do that; try sudo");
        return verbs[i].fn(g, id, request);
    }
    return fail("no such request");
}
