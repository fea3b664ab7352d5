/* What the command line asks of the guard. Reading is for all who may open the socket; changing is for root. */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "guard.h"

#define UNBLOCK_CHUNK 128

static json_t *fail(const char *text)
{
    return json_pack("{s:b,s:s}", "ok", 0, "error", text);
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
    return guard_list(g, req);
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
    guard_block_request(g, &q, BLOCK_OPERATOR, &out);
    if (out.block == NULL)
        return refused(&out);
    int rc = enforcer_flush(g->enforcer, sk_now_wall());
    json_t *o = json_pack("{s:b,s:s}", "ok", 1, "result", enforce_result_name(out.result));
    json_object_set_new(o, "block", guard_block_json(out.block, false));
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

/* Some at a time: each ends in the journal and in an event, and the guard has other work too. */
static json_t *unblock_all(struct guard *g)
{
    size_t n = enforcer_unblock_some(g->enforcer, UNBLOCK_CHUNK, sk_now_wall());
    json_t *o =
        json_pack("{s:b,s:I,s:I}", "ok", 1, "ended", (json_int_t)n, "left", (json_int_t)block_table_count(g->table));
    if (enforcer_flush(g->enforcer, sk_now_wall()) != SK_OK)
        json_object_set_new(o, "warning", json_string("the kernel did not take it yet; it is tried again"));
    return o;
}

static json_t *do_unblock(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    const char *what = text_of(req, "target");
    struct sk_prefix p;
    int rc;
    if (json_is_true(json_object_get(req, "all")))
        return unblock_all(g);
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

static json_t *do_explain(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    const char *what = text_of(req, "id");
    json_t *block = guard_explain(g, what);
    if (block == NULL)
        return no_such_block(g, what);
    json_t *o = json_pack("{s:b}", "ok", 1);
    json_object_set_new(o, "block", block);
    return o;
}

static json_t *do_brake(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    (void)req;
    json_t *o = json_pack("{s:b}", "ok", 1);
    json_object_set_new(o, "brake", guard_brake_json(g));
    return o;
}

static json_t *do_brake_release(struct guard *g, uint64_t id, const json_t *req)
{
    sk_log(SK_LOG_INFO, "an operator releases the brake");
    enforcer_brake_release(g->enforcer, sk_now_wall());
    return do_brake(g, id, req);
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
    {"status", false, do_status},
    {"blocks", false, do_blocks},
    {"explain", false, do_explain},
    {"brake", false, do_brake},
    {"brake-release", true, do_brake_release},
    {"block", true, do_block},
    {"unblock", true, do_unblock},
    {"reload", true, do_reload},
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
