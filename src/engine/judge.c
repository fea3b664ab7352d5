/*
 * What an alert, a connection or a request means for its client: a block is asked for, points are added up, floods and
 * active clients are counted.
 *
 *   alert --> decide_plan --> nothing
 *                        `--> block ---------------------------.
 *                        `--> points --> decide_score_add --> enough: block --> request to the guard
 *   connection, request --> active_add, flood_count ... flood_merge --> too many: told, perhaps a block
 *
 * Asked for is only what is proven: a client that completed a handshake, or whom trusted hops vouch for. Points, floods
 * and active clients are about those who come from outside: in flows whose server is in HOME_NET and whose client is
 * not, so that neither this host's own connections nor the machines that it protects add up to a block.
 */
#include <netinet/in.h>
#include <stdio.h>

#include "base/clock.h"
#include "decide/plan.h"
#include "decide/policy.h"
#include "engine_internal.h"

/* --- who it is --- */

/*
 * Whoever opened a TCP connection and answered the server's SYN has shown that the address is his; anything else can
 * carry a forged source, also a segment or an ICMP error that names the connection and is not part of it. Of a session
 * picked up in midstream this is known once the server has acknowledged data: to a stray segment it answers with a
 * reset.
 */
static bool source_proven(const struct engine_worker *w, const struct detect_input *in)
{
    const struct flow *f = w->cur.f;
    if (!f || f->proto != IPPROTO_TCP || in->proto != IPPROTO_TCP || (w->cur.v & STREAM_V_INVALID))
        return false;
    const struct stream_session *s = &w->cur.ef->tcp;
    const struct stream_half *client = &s->half[FLOW_TOSERVER];
    return w->cur.ef->handshake || (s->midstream && !s->async && !s->rst_seen && client->last_ack != client->isn + 1);
}

struct offender {
    bool client; /* it is the flow's client, or whoever that stands for */
    bool known;  /* it is no hop, and hops vouch for it if it stands behind one */
};

/*
 * The source, or with `target:src_ip`, which says that the source is the victim, the other side. A hop stands for its
 * client, if that is proven; otherwise for nobody.
 */
static struct offender find_offender(const struct engine_worker *w, const struct detect_alert *a,
                                     const struct detect_input *in, struct http_tx *tx, struct decide_request *q)
{
    const struct sk_addr *at = a->rule->target == RULE_TARGET_SRC ? in->dst : in->src;
    const struct identity *id = engine_client_of(w->cur.ef, tx);
    struct offender o = {.client = !w->cur.f || sk_addr_eq(engine_client_on_wire(w, at), &w->cur.f->client)};
    q->identity = (struct identity){.state = IDENTITY_DIRECT, .client = *at};
    if (id && o.client) {
        q->identity = *id;
        at = &id->client;
    }
    q->target = sk_prefix_make(at, 128);
    o.known = identity_known(&q->identity) && !(w->e->hops && identity_is_hop(w->e->hops, at));
    return o;
}

void engine_judge_home(struct engine_rules *r, struct rule_loader *l)
{
    if (rule_loader_addrs(l, "$HOME_NET", &r->home) != SK_OK)
        r->home = NULL;
}

/* The flow's server is one of those that are protected here. */
static bool serves(const struct engine_worker *w)
{
    const struct rule_addr_spec *home = w->rules ? w->rules->home : NULL;
    return w->cur.f && home && rule_addr_match(home, &w->cur.f->server);
}

/* And the client is not. Where HOME_NET is everybody, whoever opened the connection counts as from outside. */
static bool visits(const struct engine_worker *w, const struct sk_addr *client)
{
    const struct rule_addr_spec *home = w->rules ? w->rules->home : NULL;
    return serves(w) && ((!home->npos && !home->nneg) || !rule_addr_match(home, client));
}

/* --- requests to the guard --- */

/* What a request says of its packet. in: as rules saw it. */
static void fill_request(const struct engine_worker *w, int dir, const struct detect_input *in,
                         struct decide_request *q)
{
    const struct flow *f = w->cur.f;
    *q = (struct decide_request){.ts = w->cur.ts,
                                 .proto = in->proto,
                                 .to_server = dir == FLOW_TOSERVER,
                                 .src = *engine_client_on_wire(w, in->src),
                                 .dst = *engine_client_on_wire(w, in->dst),
                                 .sport = in->sport,
                                 .dport = in->dport,
                                 .flow_id = f ? f->id : 0,
                                 .packet = w->cur.p ? w->cur.p->frame->number : 0};
    q->kill =
        !w->e->prevent && w->e->conf->decide.kill_sockets && f && f->proto == IPPROTO_TCP && in->proto == IPPROTO_TCP;
}

static void send_request(struct engine_worker *w, const struct decide_request *q)
{
    sk_count(w->c, SK_C_BLOCK_REQUESTS);
    w->sink.block(w->sink.arg, q);
}

void engine_request_cut(struct engine_worker *w, const struct identity *id)
{
    struct detect_input in;
    struct decide_request q;
    engine_input(w, FLOW_TOSERVER, &in);
    fill_request(w, FLOW_TOSERVER, &in, &q);
    if (!q.kill)
        return;
    q.seconds = 1; /* what it has left is not touched */
    q.reason = DECIDE_BY_AGAIN;
    q.identity = *id;
    q.target = sk_prefix_make(&id->client, 128);
    snprintf(q.msg, sizeof q.msg, "blocked, and came again through a proxy");
    w->sink.block(w->sink.arg, &q);
}

/* --- alerts --- */

static struct decide_plan plan_for(const struct engine_worker *w, const struct detect_alert *a)
{
    const struct rule *rule = a->rule;
    const struct decide_rule r = {.gid = rule->gid,
                                  .sid = rule->sid,
                                  .priority = rule->priority,
                                  .class_name = rule->classtype,
                                  .meta = rule->meta,
                                  .nmeta = rule->nmeta,
                                  .block_seconds = rule->block_seconds,
                                  .drop = a->drop};
    struct decide_plan p = {.act = DECIDE_NOTHING};
    if (rule->action != RULE_PASS) /* one that says so when it lets something pass accuses nobody */
        decide_plan(&w->e->conf->decide, w->e->prevent, &r, &p);
    return p;
}

static bool score(struct engine_worker *w, const struct detect_alert *a, uint32_t points, struct offender o,
                  bool proven, struct decide_request *q)
{
    if (!o.client || !serves(w))
        return false;
    if (!o.known || !proven) {
        sk_count(w->c, SK_C_SCORE_UNPROVEN);
        return false;
    }
    return visits(w, &q->target.addr) &&
           decide_score_add(w->e->scores, &q->target.addr, points, a->rule->gid, a->rule->sid, w->cur.ts, w->c, q);
}

static bool may_block(struct engine_worker *w, const struct decide_plan *plan, struct offender o, bool proven)
{
    if (o.known && (proven || plan->explicit_block))
        return true;
    sk_count(w->c, SK_C_BLOCK_UNPROVEN);
    return false;
}

void engine_judge_alert(struct engine_worker *w, const struct detect_alert *a, int dir, struct http_tx *tx)
{
    struct detect_input in;
    struct decide_request q;
    const struct decide_plan plan = plan_for(w, a);
    if (plan.act == DECIDE_NOTHING)
        return;
    engine_input(w, dir, &in);
    fill_request(w, dir, &in, &q);
    struct offender o = find_offender(w, a, &in, tx, &q);
    bool proven = source_proven(w, &in), by_score = plan.act == DECIDE_SCORE;
    if (by_score ? !score(w, a, plan.points, o, proven, &q) : !may_block(w, &plan, o, proven))
        return;
    q.reason = by_score ? DECIDE_BY_SCORE : (uint8_t)plan.reason;
    q.seconds = by_score ? w->e->conf->decide.block_duration / SK_NS_PER_S : plan.seconds;
    q.sid = a->rule->sid;
    q.gid = a->rule->gid;
    q.rev = a->rule->rev;
    q.dropped = a->drop && w->e->prevent;
    q.evidence_len = a->evidence_len;
    snprintf(q.msg, sizeof q.msg, "%s", a->rule->msg);
    memcpy(q.evidence, a->evidence, a->evidence_len);
    send_request(w, &q);
}

/* --- floods --- */

/* Ranges wider than rules may block are told only (decide/policy.h). */
static bool blocks_flood(const struct engine_worker *w, const struct flood_found *f)
{
    return w->e->conf->decide.flood.action == CONF_FLOOD_BLOCK && policy_rule_width(&f->prefix);
}

static void request_flood(struct engine_worker *w, const struct flood_found *f, int64_t now)
{
    struct decide_request q = {.ts = now,
                               .target = f->prefix,
                               .seconds = w->e->conf->decide.block_duration / SK_NS_PER_S,
                               .reason = DECIDE_BY_FLOOD,
                               .to_server = 1,
                               .src = f->prefix.addr,
                               .proto = IPPROTO_TCP,
                               .identity = {.client = f->prefix.addr},
                               .score = (uint32_t)f->rate,
                               .threshold = f->limit};
    snprintf(q.msg, sizeof q.msg, "flood: %u connections and requests a second, %u are allowed", q.score, q.threshold);
    send_request(w, &q);
}

static void tell_floods(struct engine_worker *w, const struct flood_found *f, unsigned n, int64_t now)
{
    for (unsigned i = 0; i < n; i++) {
        bool block = blocks_flood(w, &f[i]);
        if (f[i].fresh) {
            sk_count(w->c, SK_C_FLOODS);
            engine_emit_flood(w, &f[i], block, now);
        }
        if (f[i].again && block) /* also when the first request was refused or lost */
            request_flood(w, &f[i], now);
    }
}

static void hand_over(struct engine_worker *w, int64_t now)
{
    struct flood_found found[FLOOD_FOUND];
    tell_floods(w, found, flood_merge(w->e->floods, w->sketch, now, w->c, found), now);
}

void engine_judge_idle(struct engine_worker *w)
{
    if (w->sketch && flood_due(w->e->floods, w->sketch, w->now))
        hand_over(w, w->now);
}

void engine_judge_finish(struct engine_worker *w)
{
    struct flood_found found[FLOOD_FOUND];
    if (w->sketch)
        tell_floods(w, found, flood_finish(w->e->floods, w->sketch, w->now, w->c, found), w->now);
}

/* --- clients that are at work --- */

void engine_judge_client(struct engine_worker *w, const struct sk_addr *client)
{
    if (!visits(w, client))
        return;
    active_add(w->e->active, client, w->cur.ts);
    if (!w->sketch)
        return;
    if (flood_due(w->e->floods, w->sketch, w->cur.ts))
        hand_over(w, w->cur.ts);
    flood_count(w->sketch, client, 1);
}

void engine_judge_connection(struct engine_worker *w)
{
    if (w->cur.ef->handshake && !w->cur.ef->hop)
        engine_judge_client(w, &w->cur.f->client);
}

void engine_judge_request(struct engine_worker *w, struct http_tx *tx)
{
    const struct identity *id = engine_client_of(w->cur.ef, tx);
    struct detect_input in;
    engine_input(w, FLOW_TOSERVER, &in);
    if (id && id->state == IDENTITY_PROVEN)
        engine_judge_client(w, &id->client);
    else if (!id && source_proven(w, &in))
        engine_judge_client(w, &w->cur.f->client);
}
