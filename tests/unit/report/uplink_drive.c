/*
 * The uplink without agent: orders come line by line on standard input, what it tells the guard goes out as lines of
 * JSON. For tests/manager/uplink_fake.py.
 *
 *   uplink_drive FOLDER SPOOL-BYTES
 *
 *   events FIRST COUNT        EVE alerts, numbered by signature_id
 *   line TEXT                 an event as it stands here
 *   set ID TARGET SECONDS     a block of this host; end ID TARGET WHY; begin; done
 *   fleetset ID TARGET        a block of the fleet, which is not to be told
 *   lookup ID TARGET
 *   signed KIND VERSION IN-FORCE RC   what the guard says of a bundle
 *   room N                    the guard takes N messages more; -1: as many as there are
 *   drain MS, quit
 */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "enforce/journal.h"
#include "report/uplink.h"

struct drive {
    struct uplink *u;
    long room;
    bool quit;
    char in[1 << 17];
    size_t len;
};

static void say(json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);
    printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(o);
}

static int on_fleet(void *arg, const struct ipc_fleet *f)
{
    static const char *const ops[] = {"set", "end", "begin"};
    struct drive *d = (struct drive *)arg;
    char target[SK_PREFIX_STRLEN];
    if (d->room == 0)
        return SK_EAGAIN;
    d->room -= d->room > 0;
    say(json_pack("{s:s,s:s,s:s,s:I,s:s}", "fleet", ops[f->op], "target", sk_prefix_format(&f->target, target), "id",
                  f->id, "expires_ms", (json_int_t)(f->expires / SK_NS_PER_MS), "host", f->host));
    return SK_OK;
}

static int on_fleet_done(void *arg, uint64_t seq)
{
    struct drive *d = (struct drive *)arg;
    if (d->room == 0)
        return SK_EAGAIN;
    d->room -= d->room > 0;
    say(json_pack("{s:s,s:I}", "fleet", "done", "seq", (json_int_t)seq));
    return SK_OK;
}

static int on_bundle(void *arg, const struct ipc_signed *s, const void *payload, size_t len)
{
    struct drive *d = (struct drive *)arg;
    if (d->room == 0)
        return SK_EAGAIN;
    say(json_pack("{s:i,s:I,s:s%,s:i,s:i}", "bundle", (int)s->kind, "version", (json_int_t)s->version, "payload",
                  (const char *)payload, len, "sig0", s->sig[0], "sig63", s->sig[63]));
    return SK_OK;
}

static void on_state(void *arg, const struct ipc_manager *m)
{
    static const char *const states[] = {"trying", "up", "refused"};
    (void)arg;
    char text[SK_ADDR_STRLEN];
    json_t *addrs = json_array();
    for (unsigned i = 0; i < m->naddr; i++)
        json_array_append_new(addrs, json_string(sk_addr_format(&m->addr[i], text)));
    say(json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:s,s:o}", "state", states[m->state], "spooled", (json_int_t)m->spooled,
                  "sent", (json_int_t)m->sent, "lost", (json_int_t)m->lost, "seq", (json_int_t)m->feed_seq,
                  "cert_until", (json_int_t)(m->cert_until / SK_NS_PER_MS), "text", m->text, "addr", addrs));
}

static void on_found(void *arg, const struct ipc_found *f)
{
    static const char *const states[] = {"no-answer", "waiting", "not-there", "there"};
    (void)arg;
    say(json_pack("{s:s,s:I,s:I,s:s,s:s,s:i}", "found", states[f->state], "id", (json_int_t)f->id, "agents",
                  (json_int_t)f->agents, "host", f->host, "set", f->nsets > 0 ? f->set[0] : "", "nsets",
                  (int)f->nsets));
}

static void events(struct drive *d, unsigned long first, unsigned long count)
{
    char line[512], when[40];
    sk_time_format(sk_now_wall(), when);
    for (unsigned long i = first; i < first + count; i++) {
        int n =
            snprintf(line, sizeof(line),
                     "{\"timestamp\":\"%s\",\"event_type\":\"alert\",\"src_ip\":"
                     "\"203.0.113.5\",\"dest_ip\":\"198.51.100.1\",\"proto\":\"TCP\",\"alert\":{\"signature_id\":%lu,"
                     "\"gid\":1,\"signature\":\"test\",\"severity\":1,\"action\":\"blocked\"}}",
                     when, i);
        uplink_event(d->u, line, (size_t)n);
    }
}

static void block(struct drive *d, enum ipc_block_op op, const char *id, const char *target, const char *third)
{
    struct ipc_block_news n = {.op = (uint8_t)op, .origin = BLOCK_RULE, .cause = DECIDE_BY_RULE, .sid = 1, .gid = 1};
    if (op == IPC_BLOCK_SET || op == IPC_BLOCK_END) {
        (void)!sk_prefix_parse(target, strlen(target), false, &n.target);
        snprintf(n.id, sizeof(n.id), "%s", id);
        snprintf(n.reason, sizeof(n.reason), "reason with \"quotes\"\x01 and \xff");
        n.created = sk_now_wall() / SK_NS_PER_S * SK_NS_PER_S;
        n.expires = n.created + atol(third) * SK_NS_PER_S;
        n.ended = sk_now_wall();
        n.why = JOURNAL_UNBLOCKED;
    }
    if (op == IPC_BLOCK_END && strcmp(third, "expired") == 0)
        n.why = JOURNAL_EXPIRED;
    if (third != NULL && strcmp(third, "fleet") == 0) {
        n.origin = BLOCK_FLEET;
        n.expires += 3600 * SK_NS_PER_S;
    }
    uplink_block(d->u, &n);
}

static void look_up(struct drive *d, const char *id, const char *target)
{
    struct ipc_look_up q = {.id = strtoul(id, NULL, 10)};
    (void)!sk_prefix_parse(target, strlen(target), false, &q.target);
    uplink_look_up(d->u, &q);
}

static void signed_done(struct drive *d, char *w[5])
{
    struct ipc_signed_done s = {.kind = (uint32_t)atoi(w[1]),
                                .version = strtoul(w[2], NULL, 10),
                                .in_force = strtoul(w[3], NULL, 10),
                                .rc = atoi(w[4])};
    uplink_bundle_done(d->u, &s);
}

static void drain(struct drive *d, int ms)
{
    int64_t began = sk_now_mono();
    int rc = uplink_drain(d->u, ms);
    say(json_pack("{s:i,s:I}", "drained", rc, "ms", (json_int_t)((sk_now_mono() - began) / SK_NS_PER_MS)));
}

static void order(struct drive *d, char *line)
{
    char *w[5] = {NULL}, *save = NULL;
    if (strncmp(line, "line ", 5) == 0) {
        uplink_event(d->u, line + 5, strlen(line + 5));
        return;
    }
    w[0] = strtok_r(line, " ", &save);
    for (int i = 1; i < 5 && w[i - 1] != NULL; i++)
        w[i] = strtok_r(NULL, " ", &save);
    if (w[0] == NULL)
        return;
    if (strcmp(w[0], "events") == 0)
        events(d, strtoul(w[1], NULL, 10), strtoul(w[2], NULL, 10));
    else if (strcmp(w[0], "set") == 0)
        block(d, IPC_BLOCK_SET, w[1], w[2], w[3]);
    else if (strcmp(w[0], "end") == 0)
        block(d, IPC_BLOCK_END, w[1], w[2], w[3]);
    else if (strcmp(w[0], "fleetset") == 0)
        block(d, IPC_BLOCK_SET, w[1], w[2], "fleet");
    else if (strcmp(w[0], "begin") == 0)
        block(d, IPC_BLOCK_BEGIN, NULL, NULL, NULL);
    else if (strcmp(w[0], "done") == 0)
        block(d, IPC_BLOCK_DONE, NULL, NULL, NULL);
    else if (strcmp(w[0], "lookup") == 0)
        look_up(d, w[1], w[2]);
    else if (strcmp(w[0], "signed") == 0)
        signed_done(d, w);
    else if (strcmp(w[0], "room") == 0)
        d->room = atol(w[1]);
    else if (strcmp(w[0], "drain") == 0)
        drain(d, atoi(w[1]));
    else
        d->quit = true;
}

static void read_orders(struct drive *d)
{
    ssize_t n = read(STDIN_FILENO, d->in + d->len, sizeof(d->in) - d->len - 1);
    if (n <= 0) {
        d->quit = true;
        return;
    }
    d->len += (size_t)n;
    char *line = d->in, *end;
    while ((end = (char *)memchr(line, '\n', d->len - (size_t)(line - d->in))) != NULL) {
        *end = '\0';
        order(d, line);
        line = end + 1;
    }
    d->len -= (size_t)(line - d->in);
    memmove(d->in, line, d->len);
}

int main(int argc, char **argv)
{
    static struct drive d = {.room = -1};
    char why[512];
    if (argc != 3)
        return 2;
    sk_log_setup("drive", SK_LOG_INFO, 0);
    struct uplink_options o = {.dir = argv[1],
                               .spool_size = strtoul(argv[2], NULL, 10),
                               .version = "0.1.0",
                               .take_blocks = true,
                               .take_rules = true,
                               .take_policy = true};
    struct uplink_sink s = {.arg = &d,
                            .fleet = on_fleet,
                            .fleet_done = on_fleet_done,
                            .bundle = on_bundle,
                            .state = on_state,
                            .found = on_found};
    if (uplink_open(&o, &s, &d.u, why, sizeof(why)) != SK_OK) {
        say(json_pack("{s:s}", "failed", why));
        return 1;
    }
    while (!d.quit) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        if (uplink_run(d.u, &p, 1, 1000) != SK_OK)
            break;
        if (p.revents != 0)
            read_orders(&d);
    }
    uplink_close(d.u);
    return 0;
}
