/*
 * One set and AWS: looked for, read, made, written. What is ours is changed in the store first, then in memory; before
 * a write when something becomes ours, after it when something is no longer.
 */
#include <stdio.h>
#include <stdlib.h>
#include "waf_priv.h"

#define PATIENCE      (30 * SK_NS_PER_S) /* a failure that may pass by itself is told after that */
#define SOON          8                  /* so many failures in a row may be bad luck, and ends are due in time */
#define SOON_WAIT     (3 * SK_NS_PER_S)
#define TROUBLE_EVERY (10 * SK_NS_PER_S)
#define SHORT_WAIT    (SK_NS_PER_S / 2)
#define OWN_WAIT      (10 * SK_NS_PER_S)
#define SET_WAIT      (60 * SK_NS_PER_S)
#define LIMIT_WAIT    (300 * SK_NS_PER_S)
#define REFUSALS_MAX  3 /* single additions refused in a row: it is not them */

static const char description[] = "Addresses blocked by Sekisho";

static void query(const struct set *s, struct wafv2_set *q)
{
    const struct waf_target *t = &s->g->at->t;
    memset(q, 0, sizeof *q);
    q->scope = t->scope;
    q->v6 = s->g->v6;
    snprintf(q->region, sizeof q->region, "%s", t->region);
    snprintf(q->name, sizeof q->name, "%s", s->name);
    snprintf(q->id, sizeof q->id, "%s", s->id);
    snprintf(q->arn, sizeof q->arn, "%s", s->arn);
    snprintf(q->lock_token, sizeof q->lock_token, "%s", s->token);
    snprintf(q->description, sizeof q->description, "%s", description);
}

/* ---- what is ours ---- */

static int own(struct set *s, const struct plist *add, const struct plist *del)
{
    struct waf *w = s->g->w;
    if (w->o.dry_run || (add->n == 0 && del->n == 0))
        return SK_OK;
    int rc = w->world.own(w->world.ctx, s->key, add->p, add->n, del->p, del->n);
    if (rc != SK_OK)
        return rc;
    plist_remove(&s->owned, del);
    return plist_join(&s->owned, add);
}

static void own_nothing(struct set *s)
{
    static const struct plist none;
    struct waf *w = s->g->w;
    plist_reset(&w->tmp3);
    if (plist_join(&w->tmp3, &s->owned) == SK_OK && own(s, &none, &w->tmp3) == SK_OK)
        s->g->dirty = true;
}

/* Forgets what is ours, but not there. */
static void own_only(struct set *s, const struct plist *there, int64_t now)
{
    static const struct plist none;
    struct waf *w = s->g->w;
    if (plist_minus(&s->owned, there, &w->tmp3) != SK_OK || own(s, &none, &w->tmp3) != SK_OK)
        s->settle_at = now + OWN_WAIT; /* on disk it is still ours: once more then */
}

struct collect {
    struct plist *l;
    bool failed;
};

static void put_owned(void *arg, const struct sk_prefix *p)
{
    struct collect *c = arg;
    c->failed |= plist_add(c->l, p) != SK_OK;
}

static bool load_owned(struct set *s, int64_t now)
{
    struct waf *w = s->g->w;
    struct collect c = {&s->owned, false};
    plist_reset(&s->owned);
    if (w->world.owned(w->world.ctx, s->key, put_owned, &c) != SK_OK || c.failed) {
        plist_reset(&s->owned);
        s->wait_until = now + SK_NS_PER_S;
        return false;
    }
    plist_sort(&s->owned);
    s->owned_known = true;
    s->settle_at = now + SETTLE;        /* who was here before may have left a write on its way */
    s->rival_until = now + RIVAL_LASTS; /* and whether somebody else writes is not known yet */
    return true;
}

/* ---- failures ---- */

static void recovered(struct set *s)
{
    if (s->noted)
        waf_note(s->g->w, "waf-recovered", "%s", s->key);
    s->failing_since = 0;
    s->failing_write = s->noted = false;
    s->fails = 0;
    s->error[0] = '\0';
}

static void worked(struct set *s, enum call call, int64_t now)
{
    s->g->at->fails[call] = 0;
    s->g->w->stats.last_ok = now;
    if (call == CALL_WRITE)
        s->g->w->write_failed = false;
    if (call == CALL_WRITE || !s->failing_write)
        recovered(s);
}

/* Something failed that may fail again. */
static void set_trouble(struct waf *w, int64_t now)
{
    if (!w->o.dry_run && (now - w->trouble_told >= TROUBLE_EVERY || now < w->trouble_told)) {
        w->world.happens(w->world.ctx, WAF_FAILS);
        w->trouble_told = now;
    }
    w->trouble_at = now;
}

static void failing(struct set *s, enum call call, bool at_once, int64_t now, const char *text)
{
    struct waf *w = s->g->w;
    w->stats.failures++;
    set_trouble(w, now);
    s->fails++;
    s->failing_write |= call == CALL_WRITE;
    if (s->failing_since == 0)
        s->failing_since = now;
    snprintf(s->error, sizeof s->error, "%s", text);
    if (s->noted || (!at_once && now - s->failing_since < PATIENCE))
        return;
    s->noted = true;
    waf_note(w, "waf-failing", "%s: %s", s->key, text);
}

static void answer_text(const struct aws_answer *e, char *buf, size_t cap)
{
    const char *code = e->code[0] ? e->code : "no answer";
    snprintf(buf, cap, "%s%s%.150s", code, e->message[0] ? ": " : "", e->message);
}

static void wait_there(struct set *s, enum call call, const struct aws_answer *e, int64_t now, int64_t base)
{
    struct where *at = s->g->at;
    unsigned n = ++at->fails[call];
    int64_t wait = waf_backoff(s->g->w, n, base, n <= SOON ? SOON_WAIT : SET_WAIT / 2), told = 0;
    if (e->retry_after > 0)
        told = (e->retry_after > 300 ? 300 : e->retry_after) * SK_NS_PER_S;
    at->wait[call] = now + (told > wait ? told : wait);
    if (n <= SOON && wait > SHORT_WAIT)
        wait = waf_backoff(s->g->w, 1, SHORT_WAIT, SHORT_WAIT);
    at->wait_short[call] = now + (told > wait ? told : wait);
}

/* What all calls have in common. */
static void failed(struct set *s, enum call call, const struct aws_answer *e, int64_t now)
{
    struct waf *w = s->g->w;
    char text[256];
    answer_text(e, text, sizeof text);
    switch (e->error) {
    case AWS_LOCKED:
        w->stats.conflicts++;
        set_trouble(w, now);
        s->rival_until = now + RIVAL_LASTS;
        s->stale = true;
        return;
    case AWS_THROTTLED:
        w->stats.throttled++;
        wait_there(s, call, e, now, SK_NS_PER_S);
        failing(s, call, false, now, text);
        return;
    case AWS_RETRY:
    case AWS_UNAVAILABLE:
    case AWS_SKEW:
        wait_there(s, call, e, now, SK_NS_PER_S / 2);
        failing(s, call, false, now, text);
        return;
    case AWS_AUTH:
        wait_there(s, call, e, now, 5 * SK_NS_PER_S);
        failing(s, call, true, now, text);
        return;
    default:
        s->wait_until = now + (e->error == AWS_LIMIT ? LIMIT_WAIT : SET_WAIT);
        failing(s, call, true, now, text);
        return;
    }
}

/* May a call that ended like that have been carried out, or still be? */
static bool uncertain(enum aws_error e)
{
    return e == AWS_OK || e == AWS_RETRY || e == AWS_UNAVAILABLE || e == AWS_OTHER;
}

/* ---- looking ---- */

static void set_gone(struct set *s)
{
    if (s->id[0])
        snprintf(s->old_id, sizeof s->old_id, "%s", s->id);
    s->id[0] = '\0';
    s->known = false;
    s->stale = true;
    s->g->dirty = true;
}

static void not_there(struct set *s, int64_t now)
{
    bool make = s->g->at->t.create && !s->retired;
    if (!s->missing)
        s->g->dirty = true;
    s->missing = s->tried = true;
    s->known = false;
    s->wait_until = now + (make ? 0 : MISSING_RETRY);
    if (s->retired)
        own_nothing(s);
    else if (!make)
        failing(s, CALL_READ, true, now, "there is no IP set of this name");
}

static void found(struct set *s, const struct wafv2_set *q)
{
    snprintf(s->id, sizeof s->id, "%s", q->id);
    snprintf(s->arn, sizeof s->arn, "%s", q->arn);
    if (s->old_id[0] && strcmp(s->old_id, s->id) != 0) {
        waf_note(s->g->w, "waf-set-replaced", "%s: another IP set has taken this name", s->key);
        own_nothing(s);
    }
    s->old_id[0] = '\0';
    s->missing = false;
    s->stale = true;
}

static void find(struct set *s, int64_t now)
{
    struct waf *w = s->g->w;
    struct wafv2_set q;
    struct aws_answer e = {.retry_after = -1};
    query(s, &q);
    int rc = w->ops->find(w->ops_ctx, &q, &e);
    w->stats.reads++;
    if (rc == SK_OK) {
        worked(s, CALL_READ, now);
        found(s, &q);
    } else if (e.error == AWS_MISSING) {
        s->g->at->fails[CALL_READ] = 0;
        not_there(s, now);
    } else {
        failed(s, CALL_READ, &e, now);
        s->tried |= s->fails >= 3;
    }
    waf_set_clear(&q);
    waf_answer_free(&e);
}

static bool same_content(const struct set *s, const struct wafv2_set *q)
{
    if (!s->known || s->content.n != q->n)
        return false;
    for (size_t i = 0; i < q->n; i++)
        if (!plist_same(&s->content.p[i], &q->addr[i]))
            return false;
    return true;
}

static int take_content(struct set *s, const struct wafv2_set *q)
{
    if (same_content(s, q))
        return SK_OK;
    plist_reset(&s->content);
    for (size_t i = 0; i < q->n; i++)
        if (plist_add(&s->content, &q->addr[i]) != SK_OK)
            return SK_ENOMEM;
    plist_sort(&s->content);
    s->g->dirty = true;
    return SK_OK;
}

static void has_read(struct set *s, const struct wafv2_set *q, int64_t now)
{
    s->tried = true;
    if (q->v6 != s->g->v6) {
        s->known = false;
        s->wait_until = now + SET_WAIT;
        failing(s, CALL_READ, true, now, "an IP set of the other family has this name");
        return;
    }
    s->known = take_content(s, q) == SK_OK;
    s->stale = !s->known;
    s->missing = false;
    s->read_at = now;
    if (q->arn[0])
        snprintf(s->arn, sizeof s->arn, "%s", q->arn);
    snprintf(s->token, sizeof s->token, "%s", q->lock_token);
    if (now >= s->settle_at)
        own_only(s, &s->content, now);
    worked(s, CALL_READ, now);
    if (now < s->rival_until)
        s->g->w->refreshed_at = 0; /* to be written at once, before the rival has been there again */
    if (s->g->planned)
        group_diff(s->g, now);
}

static void get(struct set *s, int64_t now)
{
    struct waf *w = s->g->w;
    struct wafv2_set q;
    struct aws_answer e = {.retry_after = -1};
    query(s, &q);
    int rc = w->ops->get(w->ops_ctx, &q, &e);
    w->stats.reads++;
    if (rc == SK_OK) {
        has_read(s, &q, now);
    } else if (e.error == AWS_MISSING) {
        set_gone(s);
    } else {
        failed(s, CALL_READ, &e, now);
        s->tried |= s->fails >= 3;
    }
    waf_set_clear(&q);
    waf_answer_free(&e);
}

void set_look(struct set *s, int64_t now)
{
    struct waf *w = s->g->w;
    if (!s->owned_known && !load_owned(s, now))
        return;
    w->called[CALL_READ] = true;
    w->read_at = now;
    if (s->id[0])
        get(s, now);
    else
        find(s, now);
}

int64_t set_look_due(const struct set *s)
{
    int64_t last = s->read_at > s->written_at ? s->read_at : s->written_at, due;
    if (!s->id[0] || s->stale || !s->known || !s->owned_known)
        return s->wait_until;
    due = last + s->g->w->o.read_back;
    if (s->nstale > 0 && s->settle_at < due && !s->g->w->o.dry_run)
        due = s->settle_at;
    return due > s->wait_until ? due : s->wait_until;
}

/* ---- writing ---- */

void set_announce(struct waf *w, int64_t now)
{
    if (now - w->announced_at <= READ_FRESH || w->o.dry_run)
        return;
    w->announced_at = now;
    w->world.happens(w->world.ctx, WAF_WRITES);
}

static bool may_write(struct set *s, int64_t now)
{
    struct waf *w = s->g->w;
    if (!w->world.leading(w->world.ctx)) {
        w->led = false;
        return false;
    }
    w->called[CALL_WRITE] = true;
    w->write_failed = true; /* until it has not */
    w->write_at = now;
    return true;
}

static void made(struct set *s, const struct wafv2_set *q, int64_t now)
{
    snprintf(s->id, sizeof s->id, "%s", q->id);
    snprintf(s->arn, sizeof s->arn, "%s", q->arn);
    snprintf(s->token, sizeof s->token, "%s", q->lock_token);
    plist_reset(&s->content);
    own_nothing(s);
    s->old_id[0] = '\0';
    s->missing = s->stale = false;
    s->known = true;
    s->read_at = now;
    s->g->dirty = true;
    s->g->w->stats.writes++;
    s->g->w->stats.last_write = now;
    worked(s, CALL_WRITE, now);
    waf_note(s->g->w, "waf-set-made", "%s %s", s->key, s->id);
}

void set_make(struct set *s, int64_t now)
{
    struct waf *w = s->g->w;
    if (w->o.dry_run) {
        if (!s->noted)
            waf_note(w, "waf-dry-run", "%s would be made", s->key);
        s->noted = true;
        s->wait_until = now + SET_WAIT;
        return;
    }
    if (!may_write(s, now))
        return;
    struct wafv2_set q;
    struct aws_answer e = {.retry_after = -1};
    query(s, &q);
    q.id[0] = q.arn[0] = q.lock_token[0] = '\0';
    set_announce(w, now);
    int rc = w->ops->create(w->ops_ctx, &q, &e);
    if (rc == SK_OK) {
        made(s, &q, now);
    } else {
        if (e.error != AWS_EXISTS)
            failed(s, CALL_WRITE, &e, now);
        if (e.error == AWS_EXISTS)
            s->wait_until = now + SK_NS_PER_S;
        s->missing = !(uncertain(e.error) || e.error == AWS_EXISTS); /* else: look again */
    }
    waf_set_clear(&q);
    waf_answer_free(&e);
}

/* AWS refuses something: is it one of the additions, and which? Half as many next time. */
static void halve(struct set *s, const struct plist *out, size_t nadd, const struct aws_answer *e, int64_t now)
{
    char text[256], buf[SK_PREFIX_STRLEN];
    struct plist *one = &s->g->w->tmp3;
    if (nadd > 1) {
        s->add_max = nadd / 2;
        return;
    }
    if (nadd == 1 && e->error == AWS_INVALID && s->refusals < REFUSALS_MAX && s->g->refused.n < REFUSED_MAX &&
        plist_minus(out, &s->content, one) == SK_OK && one->n == 1 && plist_join(&s->g->refused, one) == SK_OK) {
        s->refusals++;
        s->add_max = SIZE_MAX;
        s->g->dirty = true;
        answer_text(e, text, sizeof text);
        waf_note(s->g->w, "waf-refused", "%s: %s: %s", s->key, sk_prefix_format(&one->p[0], buf), text);
        return;
    }
    s->add_max = SIZE_MAX;
    failed(s, CALL_WRITE, e, now);
    if (nadd == 1 && s->ndel > 0) { /* removals at least */
        s->add_wait = s->wait_until;
        s->wait_until = now;
    }
}

static void written(struct set *s, struct plist *out, size_t nadd, const char *token, int64_t now)
{
    struct waf *w = s->g->w;
    plist_swap(&s->content, out);
    snprintf(s->token, sizeof s->token, "%s", token);
    s->written_at = now;
    s->settle_at = now + SETTLE; /* a look may show what was before: it says nothing about what is ours */
    s->stale = false;
    own_only(s, &s->content, now);
    if (nadd == s->nadd) {
        s->add_max = SIZE_MAX;
        s->refusals = 0;
    }
    w->stats.writes++;
    w->stats.last_write = now;
    worked(s, CALL_WRITE, now);
    group_diff(s->g, now);
}

static void not_written(struct set *s, const struct plist *out, const struct plist *new, size_t nadd,
                        const struct aws_answer *e, int64_t now)
{
    static const struct plist none;
    if (uncertain(e->error)) {
        s->stale = true;
        s->settle_at = now + SETTLE;
    } else {
        (void)own(s, &none, new); /* it has not been carried out; else it stays ours until the next look */
    }
    if (e->error == AWS_INVALID || e->error == AWS_LIMIT)
        halve(s, out, nadd, e, now);
    else if (e->error == AWS_MISSING)
        set_gone(s);
    else
        failed(s, CALL_WRITE, e, now);
}

static void dry_write(struct set *s, size_t nadd, int64_t now)
{
    if (s->dry_add != nadd || s->dry_del != s->ndel)
        waf_note(s->g->w, "waf-dry-run", "%s: %zu would be added, %zu removed", s->key, nadd, s->ndel);
    s->dry_add = nadd;
    s->dry_del = s->ndel;
    s->wait_until = now + SET_WAIT;
}

void set_write(struct set *s, int64_t now)
{
    static const struct plist none;
    struct waf *w = s->g->w;
    struct plist *out = &w->tmp, *new = &w->tmp2;
    size_t nadd;
    if (now < s->add_wait)
        s->add_max = 0;
    else if (s->add_max == 0)
        s->add_max = SIZE_MAX;
    if (set_build(s, out, new, &nadd) != SK_OK || out->n > WAFV2_SET_MAX) {
        s->wait_until = now + SK_NS_PER_S;
        return;
    }
    if (w->o.dry_run) {
        dry_write(s, nadd, now);
        return;
    }
    if (!may_write(s, now))
        return;
    if (own(s, new, &none) != SK_OK) {
        s->wait_until = now + SK_NS_PER_S;
        failing(s, CALL_WRITE, false, now, "the store does not take what is to be written");
        return;
    }
    struct wafv2_set q;
    struct aws_answer e = {.retry_after = -1};
    query(s, &q);
    set_announce(w, now);
    int rc = w->ops->update(w->ops_ctx, &q, out->p, out->n, &e);
    if (rc == SK_OK)
        written(s, out, nadd, q.lock_token, now);
    else
        not_written(s, out, new, nadd, &e, now);
    waf_set_clear(&q);
    waf_answer_free(&e);
}

/* ---- the rest ---- */

bool set_is_drained(const struct set *s)
{
    return s->tried && s->owned_known && s->owned.n == 0 && (s->missing || s->known);
}

void set_forget(struct set *s)
{
    s->known = s->owned_known = s->missing = s->tried = false;
    s->stale = true;
    s->wait_until = 0;
    s->nadd = s->ndel = s->nkeep = 0;
    s->keep_until = INT64_MAX;
    s->add_max = SIZE_MAX;
    plist_reset(&s->owned);
    plist_reset(&s->content);
}

void set_free(struct set *s)
{
    plist_free(&s->content);
    plist_free(&s->owned);
    free(s->want);
}
