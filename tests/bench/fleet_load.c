/*
 * A fleet in one process: N agents that enrol, then each with two connections over mutual TLS, as an agent of ours has
 * them: one for heartbeats and batches of events, one for the poll of the feed that always waits. One thread, epoll.
 *
 *   fleet_load --connect 127.0.0.1:8443 [--connect ...] --ca FILE --token FILE [--agents 5000] [--events 500]
 *              [--batch 10] [--blocks 0.2] [--ramp 60] [--seconds 60] [--taken FILE]
 *
 * Of several managers each agent has one, in turn, and another when that one is gone: after a wait of at most ten
 * seconds it says again what was not answered. taken: a line for each agent, its ID and the batches that were answered.
 *
 * Every agent comes from an address of its own (127.x.y.z). Requests have their time by a plan that does not wait for
 * answers; latency is counted from that time to the answer's last byte. Prints JSON. Built by fleet_load.py.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS          1000000000ll
#define ENROLLING   24 /* at a time */
#define EVENTS_MAX  256
#define QUEUE_MAX   8 /* requests of an agent that wait for its connection */
#define POLL_WAIT_S 50
#define BODY_KEPT   (512 * 1024)
#define PEERS_MAX   4
#define WAIT_MAX_MS 10000 /* before an agent turns to another manager: a part of it, by chance */
#define LOOK_NS     (NS / 20)

enum kind { ENROL, BEAT, EVENTS, POLL, KINDS };
static const char *const kind_names[KINDS] = {"enrol", "heartbeat", "events", "poll"};

enum phase { CLOSED, CONNECTING, SHAKING, IDLE, SENDING, RECEIVING };
struct agent;
struct conn {
    struct agent *agent;
    int fd;
    SSL *ssl;
    enum phase phase;
    uint32_t events; /* that epoll waits for */
    enum kind kind;  /* of the request under way */
    int64_t due;     /* its time in the plan */
    int64_t again;   /* when it is to be said again; 0: it is under way */
    unsigned peer;   /* that it is, or was, connected to */
    bool has;        /* there is one */
    char *out, *in;
    size_t out_len, out_at, in_len, in_cap, head_len, body_len;
    bool used; /* an answer has come over it: it may be closed by the other side at any time */
};
struct waiting {
    enum kind kind;
    int64_t due;
};
struct agent {
    unsigned n;
    struct in_addr addr;
    EVP_PKEY *key;
    X509 *cert;
    char id[32], epoch[64];
    unsigned peer; /* its manager */
    int64_t after, seq;
    struct conn conn[2];
    struct waiting queue[QUEUE_MAX];
    unsigned queued;
    bool polling;
};

static struct options {
    struct sockaddr_in to[PEERS_MAX];
    unsigned npeers;
    const char *ca, *token_file, *taken;
    int agents, batch, ramp, seconds, heartbeat;
    double events, blocks;
} o = {.agents = 5000, .batch = 10, .ramp = 60, .seconds = 60, .heartbeat = 30, .events = 500, .blocks = 0.2};

static char token[128];
static struct agent *agents;
static SSL_CTX *tls;
static int ep;
static bool measuring;

struct series {
    double *ms;
    size_t n, cap;
    uint64_t errors, done;
};
static struct series series[KINDS];
static uint64_t statuses[600], reconnects, lost, dropped, blocks_sent, news, entries_seen;
static unsigned enrolled, enrolling, next_to_enrol, connected;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS + t.tv_nsec;
}

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static void die(const char *what)
{
    fprintf(stderr, "fleet_load: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void note(struct series *s, int64_t ns)
{
    s->done++;
    if (!measuring)
        return;
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4096;
        s->ms = realloc(s->ms, s->cap * sizeof *s->ms);
        if (!s->ms)
            die("realloc");
    }
    s->ms[s->n++] = (double)ns / 1e6;
}

/* ---- connections ---- */

static void watch(struct conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (c->events != events && epoll_ctl(ep, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e) != 0)
        die("epoll_ctl");
    c->events = events;
}

static void conn_close(struct conn *c)
{
    if (c->phase != CLOSED && c->phase > SHAKING)
        connected--;
    if (c->ssl)
        SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    c->ssl = NULL;
    c->fd = -1;
    c->events = 0;
    c->phase = CLOSED;
    c->in_len = c->head_len = 0;
    c->used = false;
}

/* Its manager is gone. */
static void turn_away(struct conn *c)
{
    struct agent *a = c->agent;
    c->out_at = 0;
    c->again = now_ns() + rand() % WAIT_MAX_MS * (NS / 1000);
    if (a->peer == c->peer)
        a->peer = (a->peer + 1) % o.npeers;
}

static void conn_open(struct conn *c)
{
    struct agent *a = c->agent;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = a->addr};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind");
    c->peer = a->peer;
    if (connect(c->fd, (struct sockaddr *)&o.to[c->peer], sizeof o.to[0]) != 0 && errno != EINPROGRESS) {
        if (o.npeers == 1 || !c->has)
            die("connect");
        close(c->fd);
        c->fd = -1;
        turn_away(c);
        return;
    }
    c->ssl = SSL_new(tls);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
        die("SSL_new");
    if (a->cert && (SSL_use_certificate(c->ssl, a->cert) != 1 || SSL_use_PrivateKey(c->ssl, a->key) != 1))
        die("SSL_use_certificate");
    SSL_set_connect_state(c->ssl);
    c->phase = CONNECTING;
    watch(c, EPOLLOUT);
}

static void conn_step(struct conn *c);

/* What the request says is in c->out; it goes when the connection is there. */
static void conn_send(struct conn *c)
{
    c->has = true;
    c->out_at = 0;
    c->in_len = c->head_len = 0;
    if (c->phase == CLOSED) {
        conn_open(c);
        return;
    }
    c->phase = SENDING;
    conn_step(c);
}

/* ---- requests ---- */

static void put_head(struct conn *c, const char *method, const char *path, const char *body, size_t len)
{
    size_t cap = len + strlen(path) + 256;
    char *p = realloc(c->out, cap);
    if (!p)
        die("realloc");
    int n = body ? snprintf(p, cap,
                            "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                            "Content-Length: %zu\r\n\r\n",
                            method, path, len)
                 : snprintf(p, cap, "%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n", method, path);
    if (body)
        memcpy(p + n, body, len);
    c->out = p;
    c->out_len = (size_t)n + len;
}

static void put_event(char *buf, size_t cap, const struct agent *a, int i)
{
    snprintf(
        buf, cap,
        "{\"type\":\"event\",\"time_ms\":%lld,\"event\":{\"timestamp\":\"2026-01-01T00:00:00.000000+0000\","
        "\"flow_id\":%d,\"tx_id\":%lld,\"in_iface\":\"eth0\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.%d\","
        "\"src_port\":%d,"
        "\"dest_ip\":\"10.0.%u.%u\",\"dest_port\":443,\"proto\":\"TCP\",\"alert\":{\"action\":\"blocked\",\"gid\":1,"
        "\"signature_id\":%d,\"rev\":2,\"signature\":\"Path traversal in a request's URL\",\"category\":"
        "\"Web Application Attack\",\"severity\":1},\"http\":{\"hostname\":\"www.example.com\",\"url\":"
        "\"/cgi-bin/..%%2f..%%2f..%%2fetc/passwd?x=%d\",\"http_user_agent\":\"Mozilla/5.0 (X11; Linux x86_64)\","
        "\"http_method\":\"GET\",\"protocol\":\"HTTP/1.1\",\"status\":404,\"length\":512},\"app_proto\":\"http\"}}",
        (long long)wall_ms(), i, (long long)a->seq, rand() % 254 + 1, rand() % 60000 + 1024, a->n / 250, a->n % 250 + 1,
        1000000 + rand() % 500, rand());
}

/* Each of them somebody else: the feed has news for the whole fleet. */
static void put_block(char *buf, size_t cap)
{
    uint64_t n = ++blocks_sent;
    snprintf(buf, cap,
             "{\"type\":\"block\",\"id\":\"b%llu\",\"target\":\"198.%d.%d.%d\",\"created_ms\":%lld,\"expires_ms\":%lld,"
             "\"origin\":\"rule\",\"cause\":\"alert\",\"sid\":1000001,\"gid\":1,\"score\":10,\"repeat\":1,"
             "\"reason\":\"Path traversal in a request's URL\"}",
             (unsigned long long)n, 18 + (int)(n >> 16), (int)(n >> 8 & 255), (int)(n & 255), (long long)wall_ms(),
             (long long)wall_ms() + 600000);
}

static double blocks_owed;

static void put_batch(struct conn *c)
{
    static char body[EVENTS_MAX * 1024 + 1024];
    struct agent *a = c->agent;
    int n = snprintf(body, sizeof body, "{\"spool\":\"load\",\"seq\":%lld,\"items\":[", (long long)a->seq);
    for (int i = 0; i < o.batch; i++) {
        if (i > 0)
            body[n++] = ',';
        if (blocks_owed >= 1 && i == 0) {
            blocks_owed -= 1;
            put_block(body + n, sizeof body - (size_t)n);
        } else
            put_event(body + n, sizeof body - (size_t)n, a, i);
        n += (int)strlen(body + n);
    }
    n += snprintf(body + n, sizeof body - (size_t)n, "]}");
    put_head(c, "POST", "/v1/events", body, (size_t)n);
}

static void put_beat(struct conn *c)
{
    char body[512];
    int n = snprintf(body, sizeof body,
                     "{\"version\":\"0.1.0\",\"uptime_s\":%lld,\"blocks\":%d,\"rules_version\":0,\"policy_version\":0,"
                     "\"status\":{\"packets\":%d,\"drops\":0,\"alerts\":%d,\"spool_bytes\":0,\"spool_dropped\":0}}",
                     (long long)(now_ns() / NS), rand() % 100, rand(), rand() % 1000);
    put_head(c, "POST", "/v1/heartbeat", body, (size_t)n);
}

static void put_poll(struct conn *c)
{
    struct agent *a = c->agent;
    char path[256], epoch[80] = "";
    if (*a->epoch)
        snprintf(epoch, sizeof epoch, "epoch=%s&", a->epoch);
    snprintf(path, sizeof path, "/v1/feed?%safter=%lld&wait=%d", epoch, (long long)a->after,
             *a->epoch ? POLL_WAIT_S : 0);
    put_head(c, "GET", path, NULL, 0);
}

/* PEM as a JSON string. */
static void put_csr(char *buf, size_t cap, struct agent *a)
{
    X509_REQ *q = X509_REQ_new();
    BIO *b = BIO_new(BIO_s_mem());
    char *pem;
    a->key = EVP_EC_gen("P-256");
    if (!q || !b || !a->key || X509_REQ_set_pubkey(q, a->key) != 1 || X509_REQ_sign(q, a->key, EVP_sha256()) <= 0 ||
        PEM_write_bio_X509_REQ(b, q) != 1)
        die("certificate request");
    long len = BIO_get_mem_data(b, &pem);
    size_t w = 0;
    for (long i = 0; i < len && w + 3 < cap; i++) {
        if (pem[i] == '\n')
            buf[w++] = '\\';
        buf[w++] = pem[i] == '\n' ? 'n' : pem[i];
    }
    buf[w] = '\0';
    BIO_free(b);
    X509_REQ_free(q);
}

static void put_enrol(struct conn *c)
{
    char csr[2048], body[3072];
    put_csr(csr, sizeof csr, c->agent);
    int n = snprintf(body, sizeof body, "{\"token\":\"%s\",\"csr\":\"%s\",\"host\":\"load-%u\",\"version\":\"0.1.0\"}",
                     token, csr, c->agent->n);
    put_head(c, "POST", "/v1/enroll", body, (size_t)n);
}

static void request(struct conn *c, enum kind kind, int64_t due)
{
    static void (*const put[KINDS])(struct conn *) = {put_enrol, put_beat, put_batch, put_poll};
    c->kind = kind;
    c->due = due;
    put[kind](c);
    conn_send(c);
}

/* Beats and batches share a connection, one at a time. */
static void ask(struct agent *a, enum kind kind, int64_t due)
{
    if (!a->conn[0].has)
        request(&a->conn[0], kind, due);
    else if (a->queued < QUEUE_MAX)
        a->queue[a->queued++] = (struct waiting){kind, due};
    else
        dropped++;
}

static void next_of_queue(struct agent *a)
{
    if (a->queued == 0 || a->conn[0].has)
        return;
    struct waiting w = a->queue[0];
    memmove(a->queue, a->queue + 1, --a->queued * sizeof *a->queue);
    request(&a->conn[0], w.kind, w.due);
}

/* ---- answers ---- */

static const char *field(const char *body, const char *name)
{
    const char *p = strstr(body, name);
    return p ? p + strlen(name) : NULL;
}

static void take_certificate(struct agent *a, char *body)
{
    const char *p = field(body, "\"certificate\":\"");
    const char *id = field(body, "\"agent\":\"");
    char pem[4096];
    size_t w = 0;
    if (!p || !id)
        die("an enrolment without a certificate");
    for (; *p && *p != '"' && w + 1 < sizeof pem; p++) {
        if (*p == '\\' && p[1] == 'n') {
            pem[w++] = '\n';
            p++;
        } else if (*p != '\\')
            pem[w++] = *p;
    }
    pem[w] = '\0';
    BIO *b = BIO_new_mem_buf(pem, (int)w);
    a->cert = PEM_read_bio_X509(b, NULL, NULL, NULL);
    BIO_free(b);
    if (!a->cert)
        die("a certificate that cannot be read");
    snprintf(a->id, sizeof a->id, "%.27s", id);
    a->seq = 1;
    enrolled++;
}

static void take_feed(struct agent *a, const char *body)
{
    const char *epoch = field(body, "\"epoch\":\""), *seq = field(body, "\"seq\":");
    if (!epoch || !seq)
        die("a feed without a number");
    snprintf(a->epoch, sizeof a->epoch, "%.*s", (int)strcspn(epoch, "\""), epoch);
    int64_t after = strtoll(seq, NULL, 10);
    news += measuring && after != a->after;
    a->after = after;
    for (const char *p = body; (p = strstr(p, "\"op\":")) != NULL; p++)
        entries_seen++;
}

static void finished(struct conn *c, int status, char *body)
{
    struct agent *a = c->agent;
    enum kind kind = c->kind;
    int64_t due = c->due;
    c->has = false;
    c->used = true;
    c->phase = IDLE;
    statuses[status >= 0 && status < 600 ? status : 0]++;
    if (status / 100 != 2) {
        if (series[kind].errors++ < 3)
            fprintf(stderr, "fleet_load: %s: %d %.200s\n", kind_names[kind], status, body);
    } else if (kind != POLL)
        note(&series[kind], now_ns() - due);
    else
        series[POLL].done++;
    if (kind == ENROL) {
        if (status != 201)
            exit(1);
        take_certificate(a, body);
        enrolling--;
        conn_close(c);
    } else if (kind == EVENTS && status == 200)
        a->seq++;
    else if (kind == POLL && status == 200)
        take_feed(a, body);
    if (kind == POLL)
        request(c, POLL, now_ns());
    else
        next_of_queue(a);
}

/* -1: not whole yet. */
static int parse(struct conn *c)
{
    if (c->head_len == 0) {
        char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (!end)
            return -1;
        c->head_len = (size_t)(end - c->in) + 4;
        *end = '\0';
        char *len = strcasestr(c->in, "\r\ncontent-length:");
        c->body_len = len ? strtoul(len + 17, NULL, 10) : 0;
    }
    if (c->in_len - c->head_len < c->body_len)
        return -1;
    return atoi(c->in + 9);
}

/* ---- progress ---- */

static void broken(struct conn *c)
{
    bool again = c->has && c->used; /* the other side closed what was idle */
    bool had = c->has, alone = o.npeers == 1;
    conn_close(c);
    reconnects++;
    if (had && !alone && c->kind != ENROL) {
        turn_away(c);
        return;
    }
    if (again) {
        c->out_at = 0;
        conn_open(c);
        return;
    }
    c->has = false;
    if (!had)
        return;
    lost++;
    series[c->kind].errors++;
    if (c->kind == ENROL)
        die("an enrolment was cut off");
    if (c->kind == POLL)
        request(c, POLL, now_ns());
    else
        next_of_queue(c->agent);
}

static bool again(struct conn *c, int ret)
{
    int e = SSL_get_error(c->ssl, ret);
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
        watch(c, e == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN);
        return true;
    }
    static unsigned told;
    if (e == SSL_ERROR_SSL && told++ < 3)
        ERR_print_errors_fp(stderr);
    ERR_clear_error();
    broken(c);
    return false;
}

static void receive(struct conn *c)
{
    for (;;) {
        if (c->in_cap - c->in_len < 4096) {
            c->in_cap = c->in_cap ? c->in_cap * 2 : 8192;
            if (c->in_cap > BODY_KEPT * 4 || !(c->in = realloc(c->in, c->in_cap)))
                die("an answer that is too long");
        }
        int n = SSL_read(c->ssl, c->in + c->in_len, (int)(c->in_cap - c->in_len - 1));
        if (n <= 0) {
            (void)again(c, n);
            return;
        }
        if (c->phase != RECEIVING)
            continue; /* nothing was asked */
        c->in_len += (size_t)n;
        c->in[c->in_len] = '\0';
        int status = parse(c);
        if (status < 0)
            continue;
        char *body = c->in;
        size_t head = c->head_len;
        c->in = NULL;
        c->in_cap = 0;
        finished(c, status, body + head);
        free(body);
        return;
    }
}

static void conn_step(struct conn *c)
{
    if (c->phase == CONNECTING || c->phase == SHAKING) {
        c->phase = SHAKING;
        int r = SSL_do_handshake(c->ssl);
        if (r != 1) {
            (void)again(c, r);
            return;
        }
        connected++;
        c->phase = c->has ? SENDING : IDLE;
    }
    if (c->phase == SENDING) {
        int r = SSL_write(c->ssl, c->out + c->out_at, (int)(c->out_len - c->out_at));
        if (r <= 0) {
            (void)again(c, r);
            return;
        }
        c->phase = RECEIVING; /* c->out stays: it may have to be said again */
        watch(c, EPOLLIN);
        return;
    }
    receive(c);
}

/* ---- the plan ---- */

static void say_again(int64_t now)
{
    static int64_t looked;
    if (o.npeers == 1 || now - looked < LOOK_NS)
        return;
    looked = now;
    for (int i = 0; i < o.agents * 2; i++) {
        struct conn *c = &agents[i / 2].conn[i % 2];
        if (c->again == 0 || now < c->again)
            continue;
        c->again = 0;
        conn_open(c);
    }
}

static void pump(int64_t until)
{
    struct epoll_event e[256];
    int64_t left = until - now_ns();
    int ms = left <= 0 ? 0 : left < NS / 1000 ? 1 : (int)(left / 1000000);
    int n = epoll_wait(ep, e, 256, ms > 100 ? 100 : ms);
    for (int i = 0; i < n; i++)
        conn_step(e[i].data.ptr);
}

static void enrol_all(void)
{
    while (enrolled < (unsigned)o.agents) {
        while (enrolling < ENROLLING && next_to_enrol < (unsigned)o.agents) {
            enrolling++;
            request(&agents[next_to_enrol++].conn[0], ENROL, now_ns());
        }
        pump(now_ns() + NS / 10);
    }
}

struct plan {
    int64_t start, beats, batches; /* how many have been asked for */
    int64_t polls, until;
};

/* Beats come one after the other at even distances: each agent's every heartbeat. Whoever has not connected yet does so
 * with its first. */
static void due_now(struct plan *p, int64_t now)
{
    double since = (double)(now - p->start) / NS;
    for (; p->polls < o.agents && (double)p->polls < since * o.agents / o.ramp; p->polls++)
        request(&agents[p->polls].conn[1], POLL, now);
    double beat_gap = (double)o.heartbeat / o.agents;
    for (; (double)p->beats * beat_gap <= since; p->beats++) {
        if (p->beats % o.agents < p->polls)
            ask(&agents[p->beats % o.agents], BEAT, p->start + (int64_t)((double)p->beats * beat_gap * NS));
    }
    double batch_gap = o.batch / o.events;
    for (; (double)p->batches * batch_gap <= since; p->batches++) {
        if (p->polls < 1)
            continue;
        blocks_owed += o.blocks * batch_gap;
        ask(&agents[(p->batches * 7919) % p->polls], EVENTS, p->start + (int64_t)((double)p->batches * batch_gap * NS));
    }
}

static void run_for(struct plan *p, double seconds)
{
    int64_t end = now_ns() + (int64_t)(seconds * NS);
    for (int64_t now; (now = now_ns()) < end;) {
        due_now(p, now);
        say_again(now);
        pump(now + NS / 1000);
    }
}

/* ---- numbers ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at(const struct series *s, double p)
{
    return s->n ? s->ms[(size_t)((double)(s->n - 1) * p)] : 0;
}

static void print_series(enum kind k)
{
    struct series *s = &series[k];
    if (s->n)
        qsort(s->ms, s->n, sizeof *s->ms, by_size);
    printf("\"%s\":{\"n\":%zu,\"all\":%llu,\"errors\":%llu,\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f},", kind_names[k],
           s->n, (unsigned long long)s->done, (unsigned long long)s->errors, at(s, .5), at(s, .99), at(s, 1));
}

static void print_all(double enrol_s, int64_t began, int64_t ended)
{
    printf("{");
    for (int k = 0; k < KINDS; k++)
        print_series(k);
    printf("\"agents\":%d,\"connections\":%u,\"enrol_s\":%.1f,\"seconds\":%.1f,\"blocks\":%llu,\"news\":%llu,"
           "\"entries_seen\":%llu,\"reconnects\":%llu,\"lost\":%llu,\"dropped\":%llu,\"statuses\":{",
           o.agents, connected, enrol_s, (double)(ended - began) / NS, (unsigned long long)blocks_sent,
           (unsigned long long)news, (unsigned long long)entries_seen, (unsigned long long)reconnects,
           (unsigned long long)lost, (unsigned long long)dropped);
    const char *comma = "";
    for (int i = 0; i < 600; i++)
        if (statuses[i]) {
            printf("%s\"%d\":%llu", comma, i, (unsigned long long)statuses[i]);
            comma = ",";
        }
    printf("}}\n");
}

/* ---- start ---- */

static void read_token(void)
{
    FILE *f = fopen(o.token_file, "r");
    if (!f || !fgets(token, sizeof token, f))
        die(o.token_file);
    token[strcspn(token, "\r\n")] = '\0';
    fclose(f);
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"connect", 1, 0, 'c'},
        {"ca", 1, 0, 'a'},
        {"token", 1, 0, 't'},
        {"agents", 1, 0, 'n'},
        {"events", 1, 0, 'e'},
        {"batch", 1, 0, 'b'},
        {"blocks", 1, 0, 'k'},
        {"ramp", 1, 0, 'r'},
        {"seconds", 1, 0, 's'},
        {"taken", 1, 0, 'l'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        char *colon = c == 'c' ? strrchr(optarg, ':') : NULL;
        switch (c) {
        case 'c':
            if (!colon || o.npeers == PEERS_MAX)
                exit(2);
            *colon = '\0';
            o.to[o.npeers].sin_family = AF_INET;
            o.to[o.npeers].sin_port = htons((uint16_t)atoi(colon + 1));
            if (inet_pton(AF_INET, optarg, &o.to[o.npeers++].sin_addr) != 1)
                exit(2);
            break;
        case 'l': o.taken = optarg; break;
        case 'a': o.ca = optarg; break;
        case 't': o.token_file = optarg; break;
        case 'n': o.agents = atoi(optarg); break;
        case 'e': o.events = atof(optarg); break;
        case 'b': o.batch = atoi(optarg); break;
        case 'k': o.blocks = atof(optarg); break;
        case 'r': o.ramp = atoi(optarg); break;
        case 's': o.seconds = atoi(optarg); break;
        default: exit(2);
        }
    }
    if (o.npeers == 0 || !o.ca || !o.token_file || o.agents < 1 || o.batch < 1 || o.batch > EVENTS_MAX || o.ramp < 1 ||
        o.events <= 0)
        exit(2);
}

static void make_agents(void)
{
    struct rlimit files = {(rlim_t)o.agents * 2 + 256, (rlim_t)o.agents * 2 + 256};
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        die("setrlimit");
    agents = calloc((size_t)o.agents, sizeof *agents);
    if (!agents)
        die("calloc");
    for (int i = 0; i < o.agents; i++) {
        struct agent *a = &agents[i];
        a->n = (unsigned)i;
        a->peer = a->n % o.npeers;
        a->addr.s_addr = htonl(0x7f010000u + (uint32_t)(i / 250) * 256 + (uint32_t)(i % 250) + 1);
        for (int k = 0; k < 2; k++)
            a->conn[k] = (struct conn){.agent = a, .fd = -1};
    }
}

static void make_context(void)
{
    tls = SSL_CTX_new(TLS_client_method());
    if (!tls || SSL_CTX_load_verify_locations(tls, o.ca, NULL) != 1)
        die(o.ca);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
}

static void write_taken(void)
{
    FILE *f = o.taken ? fopen(o.taken, "w") : NULL;
    if (o.taken && !f)
        die(o.taken);
    for (int i = 0; f && i < o.agents; i++)
        fprintf(f, "%s %lld\n", agents[i].id, (long long)agents[i].seq - 1);
    if (f && fclose(f) != 0)
        die(o.taken);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    read_token();
    make_agents();
    make_context();
    srand(1);
    signal(SIGPIPE, SIG_IGN); /* a manager that is gone is seen by what a write returns */
    ep = epoll_create1(EPOLL_CLOEXEC);
    int64_t began = now_ns();
    enrol_all();
    double enrol_s = (double)(now_ns() - began) / NS;
    fprintf(stderr, "enrolled %d in %.1f s\n", o.agents, enrol_s);
    struct plan p = {.start = now_ns()};
    run_for(&p, o.ramp + 5);
    fprintf(stderr, "connected %u\n", connected);
    measuring = true;
    began = now_ns();
    run_for(&p, o.seconds);
    int64_t ended = now_ns();
    measuring = false;
    write_taken();
    print_all(enrol_s, began, ended);
    fflush(stdout);
    _exit(0); /* ten thousand connections end with it */
}
