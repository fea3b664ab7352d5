#include "enforce/refusals.h"

#include <stdlib.h>
#include "base/hash.h"

#define WAYS 8
#define SETS (REFUSALS_MAX / WAYS)

/* r.count: refusals since the last telling. said 0: free. */
struct slot {
    struct refusal r;
    int64_t said;
};

struct refusals {
    struct sk_hash_key key;
    refusals_fn *fn;
    void *arg;
    struct slot slot[SETS][WAYS];
};

struct refusals *refusals_create(refusals_fn *fn, void *arg)
{
    struct refusals *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->fn = fn;
    r->arg = arg;
    sk_hash_key_random(&r->key);
    return r;
}

void refusals_free(struct refusals *r)
{
    free(r);
}

static bool is_refusal(enum enforce_result r)
{
    return r == ENFORCE_REFUSED_NEVER || r == ENFORCE_REFUSED_INVALID || r == ENFORCE_REFUSED_FULL ||
           r == ENFORCE_REFUSED_BRAKE || r == ENFORCE_REFUSED_RATE;
}

/* An invalid request may hold anything. */
static void refusal_set(struct refusal *r, const struct decide_request *q, enum block_origin origin,
                        const struct enforce_outcome *out)
{
    uint32_t count = r->count;
    memset(r, 0, sizeof *r);
    r->count = count;
    r->target = sk_prefix_make(&q->target.addr, q->target.len < 128 ? q->target.len : 128);
    r->origin = (uint8_t)origin;
    r->result = (uint8_t)out->result;
    r->why = (uint8_t)out->why;
    r->reason = q->reason < DECIDE_REASON_COUNT ? q->reason : DECIDE_BY_RULE;
    r->gid = q->gid;
    r->sid = q->sid;
    memcpy(r->msg, q->msg, strnlen(q->msg, sizeof r->msg - 1));
    if (!out->never)
        return;
    r->never = (uint8_t)out->never->kind;
    r->entry = out->never->prefix;
    memcpy(r->entry_text, out->never->text, strnlen(out->never->text, sizeof r->entry_text - 1));
}

static bool same(const struct refusal *a, const struct refusal *b)
{
    return a->result == b->result && a->why == b->why && a->never == b->never && a->origin == b->origin &&
           a->target.len == b->target.len && sk_addr_eq(&a->target.addr, &b->target.addr);
}

static void tell(struct refusals *r, struct slot *s, int64_t now)
{
    r->fn(r->arg, &s->r, now);
    s->r.count = 0;
    s->said = now;
}

/* A clock that was set back makes nobody wait for the old time. */
static bool quiet_over(const struct slot *s, int64_t now)
{
    return now - s->said >= REFUSALS_QUIET || now < s->said;
}

/* The slot of that target and cause; else a free one, or the one told longest ago, emptied. */
static struct slot *slot_for(struct refusals *r, const struct refusal *n, int64_t now, bool *known)
{
    uint64_t w[3] = {n->target.addr.q[0], n->target.addr.q[1], n->target.len};
    struct slot *set = r->slot[sk_siphash_words(&r->key, w, 3) % SETS], *oldest = set;
    *known = true;
    for (struct slot *s = set; s < set + WAYS; s++) {
        if (s->said && same(&s->r, n))
            return s;
        if (s->said < oldest->said)
            oldest = s;
    }
    *known = false;
    if (oldest->r.count > 0)
        tell(r, oldest, now);
    oldest->r.count = 0;
    return oldest;
}

void refusals_add(struct refusals *r, const struct decide_request *q, enum block_origin origin,
                  const struct enforce_outcome *out, int64_t now)
{
    struct refusal n = {0};
    bool known;
    if (!is_refusal(out->result))
        return;
    refusal_set(&n, q, origin, out);
    struct slot *s = slot_for(r, &n, now, &known);
    refusal_set(&s->r, q, origin, out);
    s->r.count++;
    if (!known || quiet_over(s, now))
        tell(r, s, now);
}

void refusals_tick(struct refusals *r, bool all, int64_t now)
{
    for (struct slot *s = r->slot[0]; s < r->slot[0] + REFUSALS_MAX; s++)
        if (s->r.count > 0 && (all || quiet_over(s, now)))
            tell(r, s, now);
}

const char *refusal_kind(const struct refusal *r)
{
    switch (r->result) {
    case ENFORCE_REFUSED_NEVER: return never_kind_name((enum never_kind)r->never);
    case ENFORCE_REFUSED_BRAKE: return "brake";
    case ENFORCE_REFUSED_RATE: return "rate";
    case ENFORCE_REFUSED_FULL: return "full";
    default: return "invalid";
    }
}

const char *refusal_text(const struct refusal *r)
{
    switch (r->result) {
    case ENFORCE_REFUSED_NEVER: return r->entry_text;
    case ENFORCE_REFUSED_BRAKE: return "more new blocks than decide.brake.share allows of the active clients";
    case ENFORCE_REFUSED_RATE: return "more new blocks a second than decide.brake.rate allows";
    case ENFORCE_REFUSED_FULL: return "there is no room for more blocks (decide.max-blocks)";
    default: return policy_verdict_text((enum policy_verdict)r->why);
    }
}
