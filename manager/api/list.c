/* What operators read. */
#include <stdio.h>
#include <stdlib.h>
#include "api_priv.h"

#define LIMIT_UNSAID 100
#define EVENTS_BYTES (16u << 20)

static const char *const states[] = {"active", "revoked", "retired"};

struct list {
    struct sk_strbuf b;
    const char *state; /* NULL: any */
    unsigned n;
    int64_t seq;
};

static void list_begin(struct list *l, const char *key, size_t max)
{
    *l = (struct list){0};
    sk_strbuf_init(&l->b, max);
    out_open(&l->b, NULL, '{');
    out_open(&l->b, key, '[');
}

static int list_end(struct list *l, struct req *r, int rc)
{
    out_close(&l->b, '}');
    if (rc == SK_OK)
        answer_json(r, MHD_HTTP_OK, &l->b);
    else
        sk_strbuf_free(&l->b);
    return rc == SK_OK ? SK_OK : SK_EIO;
}

static bool limit_of(struct req *r)
{
    r->in.limit = LIMIT_UNSAID;
    return param_int(r, "limit", 1, API_LIST_MAX, &r->in.limit);
}

static bool agent_param(struct req *r)
{
    return param_str(r, "agent", SET_ID, STORE_AGENT_LEN - 1, r->in.agent, sizeof(r->in.agent)) &&
           (r->in.agent[0] == '\0' || pki_agent_valid(r->in.agent));
}

static const char *or_null(const char *s)
{
    return s[0] != '\0' ? s : NULL;
}

/* --- agents --- */

enum api_code check_agents(struct req *r)
{
    char *s = r->in.state;
    if (!param_str(r, "state", SET_WORD, 8, s, sizeof(r->in.state)))
        return API_BAD_PARAMETER;
    for (unsigned i = 0; i < 3; i++)
        if (s[0] == '\0' || strcmp(s, states[i]) == 0)
            return API_FINE;
    return API_BAD_PARAMETER;
}

static void out_agent(struct sk_strbuf *b, const struct store_agent *g)
{
    out_open(b, NULL, '{');
    out_str(b, "id", g->id);
    out_str(b, "state", states[g->state <= STORE_AGENT_RETIRED ? g->state : STORE_AGENT_REVOKED]);
    out_str(b, "host", g->host);
    out_str(b, "version", g->version);
    out_str(b, "address", g->address);
    out_str(b, "instance", g->instance);
    out_str(b, "account", g->account);
    out_str(b, "region", g->region);
    out_raw(b, "tags", g->tags[0] == '{' ? g->tags : "{}");
    out_str(b, "token", g->token);
    out_int(b, "enrolled_ms", g->enrolled);
    out_int(b, "seen_ms", g->seen);
    out_int(b, "cert_until_ms", g->cert_until);
    out_int(b, "rules_version", g->rules_version);
    out_int(b, "policy_version", g->policy_version);
    out_raw(b, "status", g->status[0] == '{' ? g->status : "{}");
    out_close(b, '}');
}

static void on_agent(void *arg, const struct store_agent *g)
{
    struct list *l = (struct list *)arg;
    if (l->state == NULL || (g->state <= STORE_AGENT_RETIRED && strcmp(states[g->state], l->state) == 0))
        out_agent(&l->b, g);
}

int run_agents(struct api *a, struct req *r)
{
    struct list l;
    list_begin(&l, "agents", API_LIST_BYTES);
    l.state = or_null(r->in.state);
    int rc = store_agents(a->work.store, on_agent, &l);
    out_close(&l.b, ']');
    return list_end(&l, r, rc);
}

int run_agent(struct api *a, struct req *r)
{
    struct store_agent g;
    struct sk_strbuf b;
    int rc = pki_agent_valid(r->arg) ? store_agent_get(a->work.store, r->arg, &g) : SK_ENOENT;
    if (rc == SK_ENOENT) {
        answer_code(r, API_NOT_FOUND, NULL);
        return SK_OK;
    }
    if (rc != SK_OK)
        return SK_EIO;
    sk_strbuf_init(&b, API_BODY_SMALL);
    out_agent(&b, &g);
    answer_json(r, MHD_HTTP_OK, &b);
    return SK_OK;
}

/* --- blocks and entries --- */

enum api_code check_blocks(struct req *r)
{
    struct req_in *in = &r->in;
    bool ok = param_prefix(r, "target", &in->by_target, &in->target) && agent_param(r) &&
              param_bool(r, "in_force", &in->in_force) && param_int(r, "before_ms", 0, API_JSON_INT_MAX, &in->before) &&
              limit_of(r);
    return ok ? API_FINE : API_BAD_PARAMETER;
}

static void on_block(void *arg, const struct store_block *k)
{
    struct sk_strbuf *b = &((struct list *)arg)->b;
    out_open(b, NULL, '{');
    out_str(b, "agent", k->agent);
    out_str(b, "id", k->id);
    out_prefix(b, "target", &k->target);
    out_int(b, "created_ms", k->created);
    out_int(b, "expires_ms", k->expires);
    out_int(b, "ended_ms", k->ended);
    out_str(b, "why", k->why);
    out_str(b, "origin", k->origin);
    out_str(b, "cause", k->cause);
    out_int(b, "sid", k->sid);
    out_int(b, "gid", k->gid);
    out_int(b, "score", k->score);
    out_int(b, "repeat", k->repeat);
    out_str(b, "reason", k->reason);
    out_close(b, '}');
}

int run_blocks(struct api *a, struct req *r)
{
    struct list l;
    const struct req_in *in = &r->in;
    list_begin(&l, "blocks", API_LIST_BYTES);
    int rc = store_blocks(a->work.store, in->by_target ? &in->target : NULL, or_null(in->agent), in->in_force,
                          in->before, (unsigned)in->limit, now_ms(), on_block, &l);
    out_close(&l.b, ']');
    return list_end(&l, r, rc);
}

enum api_code check_entries(struct req *r)
{
    return param_int(r, "after", 0, API_JSON_INT_MAX, &r->in.after) && limit_of(r) ? API_FINE : API_BAD_PARAMETER;
}

static void on_entry(void *arg, const struct store_entry *e)
{
    struct list *l = (struct list *)arg;
    l->n++;
    l->seq = e->seq;
    if (e->expires == 0)
        return;
    out_open(&l->b, NULL, '{');
    out_entry(&l->b, e);
    out_close(&l->b, '}');
}

int run_entries(struct api *a, struct req *r)
{
    struct list l;
    list_begin(&l, "entries", API_LIST_BYTES);
    l.seq = r->in.after;
    int rc = store_entries_since(a->work.store, r->in.after, (unsigned)r->in.limit, now_ms(), on_entry, &l);
    out_close(&l.b, ']');
    out_int(&l.b, "seq", l.seq);
    out_bool(&l.b, "more", l.n == r->in.limit);
    return list_end(&l, r, rc);
}

/* --- events, audit --- */

enum api_code check_event_list(struct req *r)
{
    r->in.after = -1;
    bool ok = agent_param(r) && param_str(r, "type", SET_WORD, 15, r->in.type, sizeof(r->in.type)) &&
              (r->in.type[0] == '\0' || r->in.type[0] >= 'a') &&
              param_int(r, "after", 0, API_JSON_INT_MAX, &r->in.after) && limit_of(r);
    return ok ? API_FINE : API_BAD_PARAMETER;
}

static void on_event(void *arg, const struct store_event *e)
{
    struct sk_strbuf *b = &((struct list *)arg)->b;
    if (b->len + STORE_JSON_MAX + 1024 > b->max)
        return;
    out_open(b, NULL, '{');
    out_int(b, "id", e->id);
    out_str(b, "agent", e->agent);
    out_int(b, "time_ms", e->time);
    out_str(b, "type", e->type);
    out_raw(b, "event", e->json);
    out_close(b, '}');
}

int run_event_list(struct api *a, struct req *r)
{
    struct list l;
    list_begin(&l, "events", EVENTS_BYTES);
    int rc = store_events(a->work.store, or_null(r->in.agent), or_null(r->in.type), r->in.after, (unsigned)r->in.limit,
                          on_event, &l);
    out_close(&l.b, ']');
    return list_end(&l, r, rc);
}

enum api_code check_audit(struct req *r)
{
    return param_int(r, "before", 0, API_JSON_INT_MAX, &r->in.before) && limit_of(r) ? API_FINE : API_BAD_PARAMETER;
}

static void on_audit(void *arg, const struct store_audit *e)
{
    struct sk_strbuf *b = &((struct list *)arg)->b;
    out_open(b, NULL, '{');
    out_int(b, "id", e->id);
    out_int(b, "time_ms", e->time);
    out_str(b, "who", e->who);
    out_str(b, "what", e->what);
    out_str(b, "detail", e->detail);
    out_close(b, '}');
}

int run_audit(struct api *a, struct req *r)
{
    struct list l;
    list_begin(&l, "audit", API_LIST_BYTES);
    int rc = store_audits(a->work.store, r->in.before, (unsigned)r->in.limit, on_audit, &l);
    out_close(&l.b, ']');
    return list_end(&l, r, rc);
}

int run_waf(struct api *a, struct req *r)
{
    struct sk_strbuf b;
    char *text = a->o.waf.status != NULL ? a->o.waf.status(a->o.waf.ctx) : NULL;
    if (text == NULL) {
        answer_code(r, API_NOT_FOUND, NULL);
        return SK_OK;
    }
    sk_strbuf_init(&b, API_LIST_BYTES);
    sk_strbuf_puts(&b, text);
    free(text);
    answer_json(r, MHD_HTTP_OK, &b);
    return SK_OK;
}
