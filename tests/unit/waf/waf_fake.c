#include "waf_fake.h"

/* ---- lists ---- */

static int cmp(const struct sk_prefix *a, const struct sk_prefix *b)
{
    int c = memcmp(a->addr.b, b->addr.b, 16);
    return c ? c : (int)a->len - (int)b->len;
}

static size_t lower(const struct list *l, const struct sk_prefix *p)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cmp(&l->p[mid], p) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool list_has(const struct list *l, const struct sk_prefix *p)
{
    size_t i = lower(l, p);
    return i < l->n && cmp(&l->p[i], p) == 0;
}

void list_add(struct list *l, const struct sk_prefix *p)
{
    size_t i = lower(l, p);
    if (i < l->n && cmp(&l->p[i], p) == 0)
        return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->p = realloc(l->p, l->cap * sizeof *l->p);
    }
    memmove(l->p + i + 1, l->p + i, (l->n - i) * sizeof *l->p);
    l->p[i] = *p;
    l->n++;
}

void list_del(struct list *l, const struct sk_prefix *p)
{
    size_t i = lower(l, p);
    if (i >= l->n || cmp(&l->p[i], p) != 0)
        return;
    memmove(l->p + i, l->p + i + 1, (l->n - i - 1) * sizeof *l->p);
    l->n--;
}

static void list_copy(struct list *to, const struct sk_prefix *p, size_t n)
{
    if (n > to->cap) {
        to->p = realloc(to->p, n * sizeof *to->p);
        to->cap = n;
    }
    if (n > 0)
        memcpy(to->p, p, n * sizeof *p);
    to->n = n;
}

void list_free(struct list *l)
{
    free(l->p);
    memset(l, 0, sizeof *l);
}

/* ---- making ---- */

uint32_t fake_rnd(struct fake *f, uint32_t below)
{
    f->rng ^= f->rng << 13;
    f->rng ^= f->rng >> 7;
    f->rng ^= f->rng << 17;
    return (uint32_t)(f->rng >> 20) % below;
}

void fake_init(struct fake *f, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    f->now = START;
    f->rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    f->limit = WAFV2_SET_MAX;
    f->leading = true;
    f->die_in = -1;
    f->next_token = 1;
    f->changed = 1;
    f->fail_run = 3;
}

void fake_free(struct fake *f)
{
    for (unsigned i = 0; i < f->nsets; i++) {
        list_free(&f->set[i].addr);
        list_free(&f->set[i].foreign);
        list_free(&f->set[i].before);
    }
    for (unsigned i = 0; i < f->nowned; i++)
        list_free(&f->owned[i].l);
    for (unsigned i = 0; i < 8; i++)
        list_free(&f->flight[i].addr);
    free(f->entry);
}

struct sk_prefix fake_prefix(const char *text)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(text, strlen(text), false, &p), SK_OK);
    return p;
}

struct fake_set *fake_make_set(struct fake *f, enum wafv2_scope scope, const char *region, const char *name, bool v6)
{
    assert_true(f->nsets < FAKE_SETS);
    struct fake_set *s = &f->set[f->nsets++];
    memset(s, 0, sizeof *s);
    s->exists = true;
    s->v6 = v6;
    s->scope = scope;
    snprintf(s->region, sizeof s->region, "%s", region);
    snprintf(s->name, sizeof s->name, "%s", name);
    s->id = ++f->next_id;
    s->token = ++f->next_token;
    return s;
}

struct fake_set *fake_find(struct fake *f, const char *name)
{
    for (unsigned i = 0; i < f->nsets; i++)
        if (f->set[i].exists && strcmp(f->set[i].name, name) == 0)
            return &f->set[i];
    return NULL;
}

static void touch(struct fake *f, struct fake_set *s)
{
    list_copy(&s->before, s->addr.p, s->addr.n);
    s->token_before = s->token;
    s->token = ++f->next_token;
    s->changed_at = f->now;
}

static struct fake_owned *owned_of(struct fake *f, const char *key)
{
    for (unsigned i = 0; i < f->nowned; i++)
        if (strcmp(f->owned[i].key, key) == 0)
            return &f->owned[i];
    assert_true(f->nowned < FAKE_SETS * 2);
    struct fake_owned *o = &f->owned[f->nowned++];
    snprintf(o->key, sizeof o->key, "%s", key);
    return o;
}

static struct fake_owned *owned_of_set(struct fake *f, const struct fake_set *s)
{
    char key[256];
    snprintf(key, sizeof key, "%s/%s/%s", s->scope == WAFV2_CLOUDFRONT ? "CLOUDFRONT" : "REGIONAL", s->region, s->name);
    return owned_of(f, key);
}

bool fake_owns(struct fake *f, const struct fake_set *s, const struct sk_prefix *p)
{
    return list_has(&owned_of_set(f, s)->l, p);
}

size_t fake_owned_count(struct fake *f, const struct fake_set *s)
{
    return owned_of_set(f, s)->l.n;
}

/* ---- the rival ---- */

/* What the store calls ours is ours, even if it is not in the set at this moment: nobody could tell the difference. */
void fake_foreign_add(struct fake *f, struct fake_set *s, const struct sk_prefix *p)
{
    if (list_has(&s->addr, p) || s->addr.n >= f->limit)
        return;
    if (fake_owns(f, s, p))
        return;
    touch(f, s);
    list_add(&s->addr, p);
    list_add(&s->foreign, p);
}

void fake_foreign_del(struct fake *f, struct fake_set *s, const struct sk_prefix *p)
{
    if (!list_has(&s->foreign, p))
        return;
    touch(f, s);
    list_del(&s->addr, p);
    list_del(&s->foreign, p);
}

void fake_tamper_del(struct fake *f, struct fake_set *s, const struct sk_prefix *p)
{
    if (list_has(&s->foreign, p) || !list_has(&s->addr, p))
        return;
    touch(f, s);
    list_del(&s->addr, p);
}

/* ---- the process and its luck ---- */

/* True: the process is dead, nothing happens. */
static bool dying(struct fake *f)
{
    if (!f->dead && f->die_in >= 0 && f->die_in-- == 0)
        f->dead = true;
    return f->dead;
}

static bool chance(struct fake *f, unsigned percent)
{
    if (percent == 0 || fake_rnd(f, 100) >= percent || f->run >= f->fail_run)
        return false;
    f->run++;
    return true;
}

static void trace(struct fake *f, const char *call, const struct wafv2_set *q, const struct aws_answer *e, int64_t at)
{
    snprintf(f->calls[f->ncalls++ % 32], sizeof f->calls[0], "%8lld ms %s %s %.24s: %s",
             (long long)((at - START) / SK_NS_PER_MS), call, q->region, q->name, e->code);
}

void fake_print_calls(struct fake *f)
{
    for (unsigned i = f->ncalls > 32 ? f->ncalls - 32 : 0; i < f->ncalls; i++)
        print_message("%s\n", f->calls[i % 32]);
}

static int answer(struct aws_answer *e, enum aws_error error, const char *code)
{
    memset(e, 0, sizeof *e);
    e->error = error;
    e->retry_after = -1;
    snprintf(e->code, sizeof e->code, "%s", code);
    e->body = strdup("{}"); /* must be freed by whoever asked */
    return error == AWS_OK ? SK_OK : SK_EIO;
}

static void land(struct fake *f);

static void pass(struct fake *f)
{
    if (f->latency > 0)
        f->now += fake_rnd(f, 1000) * (f->latency / 1000);
    land(f);
}

static struct fake_set *by_id(struct fake *f, const struct wafv2_set *q)
{
    for (unsigned i = 0; i < f->nsets; i++)
        if (f->set[i].exists && f->set[i].id == (unsigned)atoi(q->id) && strcmp(f->set[i].region, q->region) == 0 &&
            f->set[i].scope == q->scope && strcmp(f->set[i].name, q->name) == 0)
            return &f->set[i];
    return NULL;
}

/* A failure before anything has happened; AWS_OK: none. */
static int trouble(struct fake *f, struct aws_answer *e)
{
    if (f->denied > 0) {
        f->denied--;
        return answer(e, AWS_AUTH, "AccessDeniedException");
    }
    if (chance(f, f->throttle))
        return answer(e, AWS_THROTTLED, "ThrottlingException");
    if (chance(f, f->before))
        return answer(e, AWS_RETRY, "WAFInternalErrorException");
    if (chance(f, f->hang)) {
        f->now += S;
        return answer(e, AWS_RETRY, "");
    }
    return SK_OK;
}

/* ---- AWS ---- */

static int fake_get(void *ctx, struct wafv2_set *q, struct aws_answer *e)
{
    struct fake *f = ctx;
    if (dying(f))
        return answer(e, AWS_RETRY, "dead");
    f->reads++;
    pass(f);
    if (trouble(f, e) != SK_OK)
        return SK_EIO;
    struct fake_set *s = by_id(f, q);
    if (!s)
        return answer(e, AWS_MISSING, "WAFNonexistentItemException");
    bool old = f->now - s->changed_at < 3 * S && s->token_before != 0 && fake_rnd(f, 100) < f->old_reads;
    const struct list *l = old ? &s->before : &s->addr;
    q->v6 = s->v6;
    q->addr = malloc((l->n + 1) * sizeof *q->addr);
    if (l->n > 0)
        memcpy(q->addr, l->p, l->n * sizeof *q->addr);
    q->n = l->n;
    snprintf(q->lock_token, sizeof q->lock_token, "%u", old ? s->token_before : s->token);
    snprintf(q->arn, sizeof q->arn, "arn:%s", s->name);
    if (chance(f, f->lost_reads))
        return answer(e, AWS_RETRY, "");
    f->run = 0;
    return answer(e, AWS_OK, "");
}

static void check_write_rate(struct fake *f)
{
    f->writes++;
    if (f->last_write && f->now - f->last_write < S)
        fail_msg("two writes within %lld ms", (long long)((f->now - f->last_write) / SK_NS_PER_MS));
    f->last_write = f->now;
}

/* As AWS checks them, and what the writer promises. */
static int check_addresses(struct fake *f, const struct fake_set *s, const struct sk_prefix *addr, size_t n,
                           struct aws_answer *e)
{
    if (n > f->limit)
        return answer(e, AWS_LIMIT, "WAFLimitsExceededException");
    for (size_t i = 0; i < n; i++) {
        struct sk_prefix canon = sk_prefix_make(&addr[i].addr, addr[i].len);
        bool v4 = addr[i].len >= 96 && sk_addr_is_v4(&addr[i].addr);
        assert_true(v4 == !s->v6);
        assert_true(sk_prefix_family_len(&addr[i]) > 0);
        assert_true(cmp(&canon, &addr[i]) == 0);
        assert_true(i == 0 || cmp(&addr[i - 1], &addr[i]) < 0);
        if (f->refuse && cmp(f->refuse, &addr[i]) == 0)
            return answer(e, AWS_INVALID, "WAFInvalidParameterException");
    }
    return SK_OK;
}

static void put(struct fake *f, struct fake_set *s, const struct sk_prefix *addr, size_t n)
{
    struct list now = {(struct sk_prefix *)(uintptr_t)addr, n, n};
    for (size_t i = 0; i < s->foreign.n; i++)
        if (!list_has(&now, &s->foreign.p[i])) {
            char buf[SK_PREFIX_STRLEN];
            fail_msg("foreign %s lost from %s", sk_prefix_format(&s->foreign.p[i], buf), s->name);
        }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < f->nnever; j++)
            if (!list_has(&s->addr, &addr[i]))
                assert_false(sk_prefix_overlaps(&addr[i], &f->never[j]));
    touch(f, s);
    list_copy(&s->addr, addr, n);
    s->updates++;
}

/* Writes on their way take effect if their token still does. */
static void land(struct fake *f)
{
    for (unsigned i = 0; i < 8; i++) {
        if (!f->flight[i].on || f->now < f->flight[i].at)
            continue;
        f->flight[i].on = false;
        struct fake_set *s = &f->set[f->flight[i].set];
        if (s->exists && s->token == f->flight[i].token)
            put(f, s, f->flight[i].addr.p, f->flight[i].addr.n);
    }
}

static bool send_late(struct fake *f, struct fake_set *s, const struct sk_prefix *addr, size_t n)
{
    for (unsigned i = 0; i < 8; i++) {
        if (f->flight[i].on)
            continue;
        f->flight[i].on = true;
        f->flight[i].set = (unsigned)(s - f->set);
        f->flight[i].token = s->token;
        f->flight[i].at = f->now + (1 + fake_rnd(f, 30)) * S;
        list_copy(&f->flight[i].addr, addr, n);
        return true;
    }
    return false;
}

static int fake_update(void *ctx, struct wafv2_set *q, const struct sk_prefix *addr, size_t n, struct aws_answer *e)
{
    struct fake *f = ctx;
    if (dying(f))
        return answer(e, AWS_RETRY, "dead");
    assert_true(f->leading);
    check_write_rate(f);
    struct fake_set *s = by_id(f, q);
    if (trouble(f, e) != SK_OK) {
        pass(f);
        return SK_EIO;
    }
    if (!s)
        return answer(e, AWS_MISSING, "WAFNonexistentItemException");
    if (f->rival && fake_rnd(f, 100) < f->race)
        f->rival(f, s);
    if (check_addresses(f, s, addr, n, e) != SK_OK)
        return SK_EIO;
    if ((unsigned)atoi(q->lock_token) != s->token) {
        pass(f);
        return answer(e, AWS_LOCKED, "WAFOptimisticLockException");
    }
    if (chance(f, f->late) && send_late(f, s, addr, n)) {
        pass(f);
        return answer(e, AWS_RETRY, "");
    }
    put(f, s, addr, n);
    pass(f);
    if (dying(f) || chance(f, f->after))
        return answer(e, AWS_RETRY, "");
    snprintf(q->lock_token, sizeof q->lock_token, "%u", s->token);
    f->run = 0;
    return answer(e, AWS_OK, "");
}

static int fake_create(void *ctx, struct wafv2_set *q, struct aws_answer *e)
{
    struct fake *f = ctx;
    if (dying(f))
        return answer(e, AWS_RETRY, "dead");
    assert_true(f->leading);
    check_write_rate(f);
    f->creates++;
    if (trouble(f, e) != SK_OK)
        return SK_EIO;
    if (fake_find(f, q->name))
        return answer(e, AWS_EXISTS, "WAFDuplicateItemException");
    struct fake_set *s = fake_make_set(f, q->scope, q->region, q->name, q->v6);
    pass(f);
    if (dying(f) || chance(f, f->after))
        return answer(e, AWS_RETRY, "");
    snprintf(q->id, sizeof q->id, "%u", s->id);
    snprintf(q->arn, sizeof q->arn, "arn:%s", s->name);
    snprintf(q->lock_token, sizeof q->lock_token, "%u", s->token);
    return answer(e, AWS_OK, "");
}

static int fake_ops_find(void *ctx, struct wafv2_set *q, struct aws_answer *e)
{
    struct fake *f = ctx;
    if (dying(f))
        return answer(e, AWS_RETRY, "dead");
    f->reads++;
    pass(f);
    if (trouble(f, e) != SK_OK)
        return SK_EIO;
    for (unsigned i = 0; i < f->nsets; i++) {
        struct fake_set *s = &f->set[i];
        if (!s->exists || strcmp(s->name, q->name) != 0 || strcmp(s->region, q->region) != 0 || s->scope != q->scope)
            continue;
        snprintf(q->id, sizeof q->id, "%u", s->id);
        snprintf(q->arn, sizeof q->arn, "arn:%s", s->name);
        return answer(e, AWS_OK, "");
    }
    return answer(e, AWS_MISSING, "");
}

#define TRACED(name, fn)                                                                                               \
    static int traced_##name(void *ctx, struct wafv2_set *q, struct aws_answer *e)                                     \
    {                                                                                                                  \
        int64_t at = ((struct fake *)ctx)->now;                                                                        \
        int rc = fn(ctx, q, e);                                                                                        \
        trace(ctx, #name, q, e, at);                                                                                   \
        return rc;                                                                                                     \
    }
TRACED(get, fake_get)
TRACED(create, fake_create)
TRACED(find, fake_ops_find)

static int traced_update(void *ctx, struct wafv2_set *q, const struct sk_prefix *addr, size_t n, struct aws_answer *e)
{
    int64_t at = ((struct fake *)ctx)->now;
    int rc = fake_update(ctx, q, addr, n, e);
    trace(ctx, "update", q, e, at);
    return rc;
}

const struct wafv2_ops fake_ops = {traced_get, traced_update, traced_create, traced_find};

/* ---- the store ---- */

struct fake_entry *fake_block_p(struct fake *f, const struct sk_prefix *p, int64_t seconds, int64_t score)
{
    f->changed++;
    for (size_t i = 0; i < f->nentries; i++) {
        struct fake_entry *x = &f->entry[i];
        if (x->end <= f->now || cmp(&x->e.target, p) != 0)
            continue;
        if (x->e.expires < f->now + seconds * S)
            x->end = x->e.expires = f->now + seconds * S;
        return x;
    }
    if (f->nentries == f->entry_cap) {
        f->entry_cap = f->entry_cap ? f->entry_cap * 2 : 1024;
        f->entry = realloc(f->entry, f->entry_cap * sizeof *f->entry);
    }
    struct fake_entry *x = &f->entry[f->nentries++];
    memset(x, 0, sizeof *x);
    x->e = (struct waf_entry){*p, f->now + seconds * S, f->now, score, 0, 1};
    x->end = x->e.expires;
    return x;
}

struct fake_entry *fake_block(struct fake *f, const char *text, int64_t seconds, int64_t score)
{
    struct sk_prefix p = fake_prefix(text);
    return fake_block_p(f, &p, seconds, score);
}

void fake_lift(struct fake *f, struct fake_entry *x)
{
    x->end = f->now;
    x->lifted = true;
    f->changed++;
}

static int world_entries(void *ctx, int64_t now, void (*fn)(void *arg, const struct waf_entry *e), void *arg)
{
    struct fake *f = ctx;
    if (dying(f) || f->entries_fail)
        return SK_EIO;
    bool fails = fake_rnd(f, 100) < f->db; /* in the middle */
    for (size_t i = 0; i < f->nentries; i++) {
        if (fails && i > f->nentries / 2)
            return SK_EIO;
        if (f->entry[i].end > now)
            fn(arg, &f->entry[i].e);
    }
    return fails ? SK_EIO : SK_OK;
}

static uint64_t world_changed(void *ctx)
{
    return ((struct fake *)ctx)->changed;
}

static int world_owned(void *ctx, const char *set, void (*fn)(void *arg, const struct sk_prefix *p), void *arg)
{
    struct fake *f = ctx;
    if (dying(f) || fake_rnd(f, 100) < f->db)
        return SK_EIO;
    for (unsigned k = 0; k < f->nowned; k++)
        for (size_t i = 0; strcmp(f->owned[k].key, set) == 0 && i < f->owned[k].l.n; i++)
            fn(arg, &f->owned[k].l.p[i]);
    return SK_OK;
}

static int world_own(void *ctx, const char *set, const struct sk_prefix *add, size_t nadd, const struct sk_prefix *del,
                     size_t ndel)
{
    struct fake *f = ctx;
    if (dying(f) || fake_rnd(f, 100) < f->db)
        return SK_EIO;
    struct fake_owned *o = owned_of(f, set);
    for (size_t i = 0; i < ndel; i++)
        list_del(&o->l, &del[i]);
    for (size_t i = 0; i < nadd; i++)
        list_add(&o->l, &add[i]);
    return dying(f) ? SK_EIO : SK_OK;
}

static void world_note(void *ctx, const char *what, const char *detail)
{
    struct fake *f = ctx;
    f->notes++;
    snprintf(f->last_note, sizeof f->last_note, "%s %s", what, detail);
    size_t n = strlen(f->notes_text);
    if (n + strlen(f->last_note) + 2 < sizeof f->notes_text)
        snprintf(f->notes_text + n, sizeof f->notes_text - n, "%s\n", f->last_note);
}

static bool world_leading(void *ctx)
{
    struct fake *f = ctx;
    return !f->dead && f->leading;
}

static void world_happens(void *ctx, enum waf_event what)
{
    struct fake *f = ctx;
    if (!f->dead)
        *(what == WAF_WRITES ? &f->writing : &f->failing) = f->now;
}

static int64_t world_happened(void *ctx, enum waf_event what)
{
    const struct fake *f = ctx;
    return what == WAF_WRITES ? f->writing : f->failing;
}

struct waf_world fake_world(struct fake *f)
{
    return (struct waf_world){.ctx = f,
                              .entries = world_entries,
                              .changed = world_changed,
                              .owned = world_owned,
                              .own = world_own,
                              .note = world_note,
                              .leading = world_leading,
                              .happens = world_happens,
                              .happened = world_happened};
}

/* ---- running ---- */

void fake_run(struct fake *f, struct waf *w, int64_t until, bool converge)
{
    for (int busy = 0; f->now < until && !f->dead; busy++) {
        int64_t next, before = f->now;
        waf_step(w, f->now, &next);
        land(f);
        assert_true(next >= before);
        if (converge && waf_converged(w))
            return;
        if (next > f->now + 1)
            busy = 0;
        assert_true(busy < 1000);  /* at least one step in a thousand waits */
        int64_t most = f->now + S; /* `changed` is looked at by the caller */
        f->now = next <= f->now ? f->now + 1000 : next < most ? next : most;
        land(f);
    }
    if (converge && !waf_converged(w))
        fail_msg("has not converged: %s", f->notes_text);
}

bool fake_blocked(struct fake *f, const struct sk_prefix *p)
{
    for (unsigned i = 0; i < f->nsets; i++) {
        if (!f->set[i].exists)
            continue;
        for (unsigned len = 1; len <= p->len; len++) {
            struct sk_prefix wide = sk_prefix_make(&p->addr, (uint8_t)len);
            if (list_has(&f->set[i].addr, &wide))
                return true;
        }
    }
    return false;
}

size_t fake_total(struct fake *f)
{
    size_t n = 0;
    for (unsigned i = 0; i < f->nsets; i++)
        n += f->set[i].exists ? f->set[i].addr.n : 0;
    return n;
}
