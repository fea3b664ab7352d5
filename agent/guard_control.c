/* What the command line asks of the guard. Reading is for all who may open the socket; changing is for root. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
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

/* Perhaps a wider block is what was meant. asked: the block could be one that has ended, too. */
static json_t *no_such_block(const struct guard *g, const char *what, bool asked)
{
    char buf[160], wide[SK_PREFIX_STRLEN];
    struct sk_prefix p;
    if (sk_prefix_parse(what, strlen(what), true, &p) != SK_OK) {
        snprintf(buf, sizeof(buf), "'%.48s' is no address, and no block is called so; see `sekisho blocks`", what);
        return fail(buf);
    }
    const struct block *b = block_table_covering(g->table, &p);
    if (b == NULL && asked)
        snprintf(buf, sizeof(buf), "%s is not blocked, nor was it; what was refused is in the EVE log (block events)",
                 sk_prefix_format(&p, wide));
    else if (b == NULL)
        snprintf(buf, sizeof(buf), "%s is not blocked", sk_prefix_format(&p, wide));
    if (b == NULL)
        return fail(buf);
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

static const struct block *find_block(const struct guard *g, const char *what)
{
    struct sk_prefix p;
    if (sk_prefix_parse(what, strlen(what), false, &p) == SK_OK)
        return block_table_find(g->table, &p);
    return block_table_find_id(g->table, what);
}

/* Does another host want it too? */
static bool others_block_it(const struct block *b)
{
    return b->fleet != NULL && strcmp(b->fleet->id, b->id) != 0;
}

static json_t *do_unblock(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    char buf[SK_PREFIX_STRLEN], note[160] = "";
    const char *what = text_of(req, "target");
    if (json_is_true(json_object_get(req, "all")))
        return unblock_all(g);
    const struct block *b = find_block(g, what);
    if (b == NULL)
        return no_such_block(g, what, false);
    if (others_block_it(b))
        snprintf(note, sizeof(note),
                 "only here: the fleet goes on blocking it; `sekisho-manager unblock %s` lifts it everywhere",
                 sk_prefix_format(&b->target, buf));
    struct sk_prefix target = b->target;
    (void)!enforcer_unblock(g->enforcer, &target, sk_now_wall()); /* it is there */
    if (enforcer_flush(g->enforcer, sk_now_wall()) != SK_OK)
        return fail("the kernel did not take it yet; it is tried again");
    json_t *o = json_pack("{s:b}", "ok", 1);
    if (note[0] != '\0')
        json_object_set_new(o, "warning", json_string(note));
    return o;
}

static json_t *do_explain(struct guard *g, uint64_t id, const json_t *req)
{
    struct sk_prefix target;
    const char *what = text_of(req, "id");
    json_t *block = guard_explain(g, what);
    if (block == NULL)
        return no_such_block(g, what, true);
    json_t *o = json_pack("{s:b}", "ok", 1);
    json_object_set_new(o, "block", block);
    const char *of = text_of(block, "target");
    if (sk_prefix_parse(of, strlen(of), false, &target) != SK_OK)
        return o;
    return guard_uplink_explain(g, id, &target, o);
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
    int rc = guard_reload(g, id, why, sizeof(why));
    if (rc == SK_EAGAIN)
        return json_pack("{s:b,s:s,s:b}", "ok", 0, "error", why, "busy", 1);
    if (rc != SK_OK)
        return fail(why);
    return NULL; /* answered when the engine has loaded */
}

static json_t *do_stop(struct guard *g, uint64_t id, const json_t *req)
{
    (void)id;
    (void)req;
    guard_stop(g, "asked to");
    return json_pack("{s:b,s:i}", "ok", 1, "pid", (int)getpid());
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
