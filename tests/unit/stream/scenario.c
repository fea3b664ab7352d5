/* Reads and plays a scenario: see scenario.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario.h"
#include "stream/stream.h"

enum { MAX_ITEMS = 256, MAX_BYTES = 65536, MAX_LINE = 4096 };

enum kind { DATA, GAP, END };

struct item {
    enum kind kind;
    int dir;
    size_t at, len; /* in bytes[] */
    uint64_t offset;
};

struct run {
    const char *path;
    int line, failures;
    struct stream_conf conf;
    struct stream_ctx *ctx;
    struct stream_session s;
    struct sk_counters c;
    uint32_t isn[2], next[2]; /* next: relative */
    int64_t now;
    struct item item[MAX_ITEMS];
    size_t nitems, nbytes;
    uint8_t bytes[MAX_BYTES];
    uint64_t expect_offset[2];
    unsigned verdict;
    uint8_t events[8];
    unsigned nevents;
    bool new_session;
};

__attribute__((format(printf, 2, 3))) static void fail(struct run *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: ", t->path, t->line);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    t->failures++;
}

static void add_item(struct run *t, enum kind kind, int dir, struct sk_span d, uint64_t offset)
{
    struct item *last = t->nitems ? &t->item[t->nitems - 1] : NULL;
    if (kind != DATA || !last || last->kind != DATA || last->dir != dir) {
        if (t->nitems == MAX_ITEMS) {
            fail(t, "too many deliveries");
            return;
        }
        last = &t->item[t->nitems++];
        *last = (struct item){.kind = kind, .dir = dir, .at = t->nbytes, .offset = offset};
    }
    last->len += d.len;
    if (kind != DATA)
        return;
    if (d.len > MAX_BYTES - t->nbytes) {
        fail(t, "too much data");
        return;
    }
    memcpy(t->bytes + t->nbytes, d.p, d.len);
    t->nbytes += d.len;
}

static void on_data(void *arg, int dir, struct sk_span d, uint64_t offset, unsigned flags)
{
    struct run *t = arg;
    if (offset != t->expect_offset[dir])
        fail(t, "offset %llu where %llu was due", (unsigned long long)offset,
             (unsigned long long)t->expect_offset[dir]);
    t->expect_offset[dir] = offset + d.len;
    if (flags & STREAM_DATA_GAP)
        add_item(t, GAP, dir, d, offset);
    else if (d.len)
        add_item(t, DATA, dir, d, offset);
    if (flags & STREAM_DATA_EOF)
        add_item(t, END, dir, (struct sk_span){0}, offset);
}

/* --- packets --- */

static char *next_word(char **p)
{
    while (**p == ' ')
        ++*p;
    if (!**p)
        return NULL;
    char *w = *p;
    bool quoted = false;
    while (**p && (quoted || **p != ' ')) {
        if (**p == '"')
            quoted = !quoted;
        ++*p;
    }
    if (**p)
        *(*p)++ = '\0';
    return w;
}

static size_t unquote(const char *w, uint8_t *out)
{
    size_t n = 0;
    for (w++; *w && *w != '"'; w++) {
        if (*w == '\\' && w[1] == 'n') {
            out[n++] = '\n';
            w++;
        } else {
            out[n++] = (uint8_t)*w;
        }
    }
    return n;
}

static uint8_t flags_of(const char *w)
{
    static const char names[] = "FSRPAU";
    uint8_t f = 0;
    for (; *w; w++) {
        const char *p = strchr(names, *w);
        f |= (uint8_t)(p ? 1u << (p - names) : 0);
    }
    return f;
}

static void packet_option(struct run *t, struct sk_packet *p, int dir, const char *w, bool *has_seq)
{
    const char *eq = strchr(w, '=');
    uint32_t n = eq ? (uint32_t)strtoll(eq + 1, NULL, 0) : 0;
    size_t k = eq ? (size_t)(eq - w) : strlen(w);
#define IS(name) (k == sizeof(name) - 1 && memcmp(w, name, k) == 0)
    if (IS("seq")) {
        p->tcp.seq = t->isn[dir] + n;
        *has_seq = true;
    } else if (IS("ack")) {
        p->tcp.ack = t->isn[!dir] + n;
    } else if (IS("win")) {
        p->tcp.win = (uint16_t)n;
    } else if (IS("ws")) {
        p->tcp.has_wscale = true;
        p->tcp.wscale = (uint8_t)n;
    } else if (IS("ts")) {
        p->tcp.has_ts = true;
        p->tcp.tsval = n;
    } else if (IS("urg")) {
        p->tcp.flags |= TCP_URG;
        p->tcp.urg = (uint16_t)n;
    } else if (IS("fin")) {
        p->tcp.flags |= TCP_FIN;
    } else if (IS("syn")) {
        p->tcp.flags = TCP_SYN;
        p->tcp.ack = 0;
    } else if (IS("noack")) {
        p->tcp.flags &= (uint8_t)~TCP_ACK;
    } else if (IS("sack")) {
        p->tcp.sack_ok = true;
    } else if (IS("sig")) {
        p->tcp.has_sig = true;
    } else if (IS("tfo")) {
        p->tcp.has_tfo = true;
    } else if (IS("sport")) {
        p->sport = (uint16_t)n;
    } else if (IS("dport")) {
        p->dport = (uint16_t)n;
    } else if (IS("len")) {
        static uint8_t xs[65536];
        memset(xs, 'x', sizeof xs);
        p->payload = sk_span_of(xs, n);
    } else {
        fail(t, "unknown packet option '%s'", w);
    }
#undef IS
}

static void play(struct run *t, const struct sk_packet *p, int dir)
{
    t->nevents = 0;
    t->new_session = false;
    t->verdict = stream_packet(t->ctx, &t->s, p, dir, on_data, t, t->events, &t->nevents);
    if (t->verdict & STREAM_V_NEW_SESSION) {
        stream_finish(t->ctx, &t->s, on_data, t);
        stream_release(t->ctx, &t->s);
        memset(&t->s, 0, sizeof t->s);
        memset(t->expect_offset, 0, sizeof t->expect_offset);
        t->new_session = true;
        t->verdict = stream_packet(t->ctx, &t->s, p, dir, on_data, t, t->events, &t->nevents);
    } else if (t->verdict & STREAM_V_SWAP) {
        t->verdict = stream_packet(t->ctx, &t->s, p, !dir, on_data, t, t->events, &t->nevents) | STREAM_V_SWAP;
    }
}

static void do_packet(struct run *t, int dir, char *rest)
{
    uint8_t data[MAX_LINE];
    struct sk_packet p = {.ts = t->now, .proto = 6, .flags = PKT_IPV4 | PKT_TCP};
    p.sport = dir ? 80 : 40000;
    p.dport = dir ? 40000 : 80;
    char *w = next_word(&rest);
    if (!w) {
        fail(t, "a packet needs flags or data");
        return;
    }
    p.tcp.flags = *w == '"' ? TCP_PSH | TCP_ACK : flags_of(w);
    if (*w == '"')
        p.payload = sk_span_of(data, (uint32_t)unquote(w, data));
    p.tcp.win = 65535;
    p.tcp.seq = t->isn[dir] + t->next[dir];
    p.tcp.ack = p.tcp.flags & TCP_ACK ? t->isn[!dir] + t->next[!dir] : 0;
    bool has_seq = false;
    while ((w = next_word(&rest)))
        packet_option(t, &p, dir, w, &has_seq);
    uint32_t end = p.tcp.seq - t->isn[dir] + p.payload.len + !!(p.tcp.flags & TCP_SYN) + !!(p.tcp.flags & TCP_FIN);
    if (!has_seq && !(p.tcp.flags & TCP_RST))
        t->next[dir] = end;
    play(t, &p, dir);
}

/* --- expectations --- */

static int dir_of(const char *w)
{
    return w && strcmp(w, "toclient") == 0;
}

static void pop(struct run *t)
{
    memmove(&t->item[0], &t->item[1], (t->nitems - 1) * sizeof t->item[0]);
    t->nitems--;
}

static void describe(struct run *t, const char *wanted)
{
    if (!t->nitems) {
        fail(t, "nothing was delivered where %s was expected", wanted);
        return;
    }
    const struct item *i = &t->item[0];
    static const char *const kinds[] = {"data", "gap", "eof"};
    fail(t, "%s %s %zu \"%.*s\" where %s was expected", kinds[i->kind], i->dir ? "toclient" : "toserver", i->len,
         i->kind == DATA ? (int)i->len : 0, t->bytes + i->at, wanted);
    pop(t);
}

static void expect_item(struct run *t, enum kind kind, int dir, size_t len, const uint8_t *data, const char *text)
{
    struct item *i = &t->item[0];
    if (!t->nitems || i->kind != kind || i->dir != dir || i->len != len ||
        (data && memcmp(t->bytes + i->at, data, len) != 0))
        describe(t, text);
    else
        pop(t);
}

static const struct {
    const char *name;
    unsigned bit;
} verdicts[] = {{"added", STREAM_V_ADDED},     {"data", STREAM_V_DATA},
                {"invalid", STREAM_V_INVALID}, {"established", STREAM_V_ESTABLISHED},
                {"closed", STREAM_V_CLOSED},   {"retrans", STREAM_V_RETRANS},
                {"swap", STREAM_V_SWAP},       {"first-est", STREAM_V_FIRST_EST},
                {"ooo", STREAM_V_OOO}};

static void expect_verdict(struct run *t, const char *w)
{
    bool negated = *w == '!';
    for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
        if (strcmp(verdicts[i].name, w + negated) != 0)
            continue;
        if (!(t->verdict & verdicts[i].bit) != negated)
            fail(t, "verdict is %#x, not %s", t->verdict, w);
        return;
    }
    fail(t, "no verdict '%s'", w);
}

static void expect_event(struct run *t, const char *w)
{
    for (unsigned i = 0; w && i < t->nevents; i++)
        if (strcmp(stream_event_name(t->events[i]), w) == 0)
            return;
    fail(t, "no event %s", w ? w : "?");
}

static void expect_counter(struct run *t, const char *name, const char *n)
{
    for (unsigned i = 0; name && n && i < SK_C_COUNT; i++) {
        if (strcmp(sk_counter_name((enum sk_counter)i), name) != 0)
            continue;
        if (t->c.v[i] != strtoull(n, NULL, 0))
            fail(t, "%s is %llu, not %s", name, (unsigned long long)t->c.v[i], n);
        return;
    }
    fail(t, "no counter '%s'", name ? name : "");
}

static void do_expect(struct run *t, char *rest)
{
    uint8_t data[MAX_LINE];
    char *w = next_word(&rest), *a = next_word(&rest);
    if (!w)
        return;
    if (strcmp(w, "toserver") == 0 || strcmp(w, "toclient") == 0) {
        size_t n = a ? unquote(a, data) : 0;
        expect_item(t, DATA, dir_of(w), n, data, a ? a : w);
    } else if (strcmp(w, "gap") == 0) {
        char *n = next_word(&rest);
        expect_item(t, GAP, dir_of(a), n ? strtoul(n, NULL, 0) : 0, NULL, "gap");
    } else if (strcmp(w, "eof") == 0) {
        expect_item(t, END, dir_of(a), 0, NULL, "eof");
    } else if (strcmp(w, "none") == 0) {
        if (t->nitems)
            describe(t, "nothing");
    } else if (strcmp(w, "new-session") == 0) {
        if (!t->new_session)
            fail(t, "no new session");
    } else if (strcmp(w, "state") == 0) {
        if (!a || strcmp(stream_state_name(t->s.state), a) != 0)
            fail(t, "state is %s, not %s", stream_state_name(t->s.state), a ? a : "?");
    } else if (strcmp(w, "verdict") == 0) {
        for (; a; a = next_word(&rest))
            expect_verdict(t, a);
    } else if (strcmp(w, "event") == 0) {
        expect_event(t, a);
    } else if (strcmp(w, "no-events") == 0) {
        if (t->nevents)
            fail(t, "event %s", stream_event_name(t->events[0]));
    } else if (strcmp(w, "counter") == 0) {
        expect_counter(t, a, next_word(&rest));
    } else {
        fail(t, "unknown expectation '%s'", w);
    }
}

/* --- the file --- */

static void do_set(struct run *t, char *rest)
{
    char *w = next_word(&rest), *v = next_word(&rest);
    uint32_t n = v ? (uint32_t)strtoul(v, NULL, 0) : 0;
    if (t->ctx || !w)
        fail(t, "'set' belongs before the first packet");
    else if (strcmp(w, "midstream") == 0)
        t->conf.midstream = true;
    else if (strcmp(w, "async") == 0)
        t->conf.async_oneside = true;
    else if (strcmp(w, "inline") == 0)
        t->conf.is_inline = true;
    else if (strcmp(w, "depth") == 0)
        t->conf.depth = n;
    else if (strcmp(w, "max-segs") == 0)
        t->conf.max_segs = n;
    else if (strcmp(w, "memcap") == 0)
        t->conf.memcap = n;
    else
        fail(t, "unknown setting '%s'", w);
}

static void do_isn(struct run *t, char *rest)
{
    char *w = next_word(&rest), *v = next_word(&rest);
    if (!w || !v) {
        fail(t, "isn needs a side and a number");
        return;
    }
    int dir = *w == '<';
    t->isn[dir] = (uint32_t)strtoul(v, NULL, 0);
    t->next[dir] = 0;
}

static void do_line(struct run *t, char *p)
{
    if (*p == '#' || !*p)
        return;
    char *rest = p;
    char *w = next_word(&rest);
    if (strcmp(w, "set") == 0) {
        do_set(t, rest);
        return;
    }
    if (!t->ctx && stream_create(&t->conf, &t->c, &t->ctx) != SK_OK) {
        fail(t, "no context");
        return;
    }
    if (strcmp(w, ">") == 0 || strcmp(w, "<") == 0)
        do_packet(t, *w == '<', rest);
    else if (strcmp(w, "=") == 0)
        do_expect(t, rest);
    else if (strcmp(w, "isn") == 0)
        do_isn(t, rest);
    else if (strcmp(w, "at") == 0)
        t->now = strtoll(rest, NULL, 0) * 1000000000;
    else if (strcmp(w, "finish") == 0)
        stream_finish(t->ctx, &t->s, on_data, t);
    else
        fail(t, "unknown line '%s'", w);
}

int scenario_run(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    struct run *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->path = path;
    t->conf = (struct stream_conf){.memcap = 1 << 20, .max_segs = 64};
    t->isn[0] = 1000;
    t->isn[1] = 5000;
    char line[MAX_LINE];
    while (fgets(line, sizeof line, f)) {
        t->line++;
        line[strcspn(line, "\n")] = '\0';
        do_line(t, line);
    }
    if (t->nitems)
        describe(t, "the end of the file");
    if (t->ctx)
        stream_release(t->ctx, &t->s);
    if (t->s.half[0].nsegs || t->s.half[1].nsegs)
        fail(t, "segments are left after release");
    int failures = t->failures;
    stream_free(t->ctx);
    free(t);
    fclose(f);
    return failures;
}
