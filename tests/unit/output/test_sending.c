/* From the store to a receiver: in order, again after failures, given up and told, over a restart, and dry. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/log.h"
#include "output_priv.h"

#define AGENT "AABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* A receiver: answers with the statuses of a script, then with 204; remembers what it was sent. */
struct receiver {
    int fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;
    int script[16];
    unsigned nscript, at;
    char got[64][2048]; /* bodies that were answered with 2xx */
    char headers[2048]; /* of the last */
    unsigned n, tries;
    atomic_bool stop;
};

static char dir[] = "/tmp/sekisho-sending-XXXXXX", where[128];
static struct receiver r;
static struct store *db;

static size_t read_request(int fd, char *buf, size_t cap)
{
    size_t len = 0, want = cap;
    while (len < want && len + 1 < cap) {
        ssize_t n = read(fd, buf + len, cap - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        buf[len] = '\0';
        char *end = strstr(buf, "\r\n\r\n"), *cl = strcasestr(buf, "content-length:");
        if (end != NULL && cl != NULL && cl < end)
            want = (size_t)(end + 4 - buf) + strtoul(cl + 15, NULL, 10);
    }
    return len;
}

static void answer(int fd)
{
    static char buf[8192];
    char out[128];
    if (read_request(fd, buf, sizeof(buf)) == 0)
        return;
    pthread_mutex_lock(&r.lock);
    int status = r.at < r.nscript ? r.script[r.at++] : 204;
    char *body = strstr(buf, "\r\n\r\n");
    r.tries++;
    if (status / 100 == 2 && body != NULL && r.n < 64) {
        snprintf(r.got[r.n++], sizeof(r.got[0]), "%s", body + 4);
        snprintf(r.headers, sizeof(r.headers), "%.*s", (int)(body - buf), buf);
    }
    pthread_mutex_unlock(&r.lock);
    int n = snprintf(out, sizeof(out), "HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status);
    assert_int_equal(write(fd, out, (size_t)n), n);
}

static void *receive(void *arg)
{
    (void)arg;
    while (!atomic_load(&r.stop)) {
        int fd = accept(r.fd, NULL, NULL);
        if (fd < 0)
            continue;
        answer(fd);
        close(fd);
    }
    return NULL;
}

static int start_receiver(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    struct timeval tv = {.tv_usec = 50000};
    pthread_mutex_init(&r.lock, NULL);
    r.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(r.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    if (bind(r.fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(r.fd, 16) != 0 ||
        getsockname(r.fd, (struct sockaddr *)&a, &len) != 0)
        return -1;
    r.port = ntohs(a.sin_port);
    return pthread_create(&r.thread, NULL, receive, NULL);
}

static int setup_all(void **state)
{
    (void)state;
    sk_log_setup("test", SK_LOG_ERROR + 0, 0);
    return fetch_init() != SK_OK || mkdtemp(dir) == NULL || start_receiver();
}

static int teardown_all(void **state)
{
    (void)state;
    char cmd[64];
    atomic_store(&r.stop, true);
    pthread_join(r.thread, NULL);
    close(r.fd);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

static int setup(void **state)
{
    (void)state;
    static int n;
    char why[256];
    struct store_agent a = {.id = AGENT, .host = "web-1", .tags = "{}"};
    pthread_mutex_lock(&r.lock);
    r.n = r.tries = r.at = r.nscript = 0;
    pthread_mutex_unlock(&r.lock);
    snprintf(where, sizeof(where), "sqlite:%s/%d.db", dir, n++);
    return store_open(where, &db, why, sizeof(why)) != SK_OK || store_agent_add(db, &a) != SK_OK;
}

static int teardown(void **state)
{
    (void)state;
    store_close(db);
    return 0;
}

static void script(const int *statuses, unsigned n)
{
    pthread_mutex_lock(&r.lock);
    memcpy(r.script, statuses, n * sizeof(*statuses));
    r.nscript = n;
    pthread_mutex_unlock(&r.lock);
}

static struct output_sink hook(const char *name)
{
    struct output_sink k = {.kind = OUTPUT_WEBHOOK, .blocks = true, .events = true};
    snprintf(k.name, sizeof(k.name), "%s", name);
    snprintf(k.url, sizeof(k.url), "http://127.0.0.1:%u/hook", r.port);
    return k;
}

static void take(const struct output_sink *k, unsigned n, const char *item)
{
    assert_int_equal(store_begin(db), SK_OK);
    output_take(db, k, n, AGENT, item, sk_now_wall() / SK_NS_PER_MS);
    assert_int_equal(store_commit(db), SK_OK);
}

static void take_blocks(const struct output_sink *k, int from, int n)
{
    char item[256];
    for (int i = from; i < from + n; i++) {
        snprintf(item, sizeof(item), "{\"type\":\"block\",\"id\":\"B%d\",\"target\":\"192.0.2.%d\",\"reason\":\"x\"}",
                 i, i);
        take(k, 1, item);
    }
}

static unsigned received(void)
{
    pthread_mutex_lock(&r.lock);
    unsigned n = r.n;
    pthread_mutex_unlock(&r.lock);
    return n;
}

static void wait_for(unsigned n, int seconds)
{
    for (int i = 0; i < seconds * 50 && received() < n; i++)
        usleep(20000);
    assert_int_equal(received(), n);
}

static int64_t waiting(void)
{
    struct store_counts c;
    assert_int_equal(store_counts(db, 0, &c), SK_OK);
    return c.outgoing;
}

/* What has arrived is crossed out a little later. */
static void wait_until_waiting(int64_t n, int seconds)
{
    for (int i = 0; i < seconds * 50 && waiting() > n; i++)
        usleep(20000);
    assert_int_equal(waiting(), n);
}

static void wait_empty(int seconds)
{
    wait_until_waiting(0, seconds);
}

static struct output *start(const struct output_sink *k, unsigned n)
{
    struct output *o;
    char why[256] = "";
    int rc = output_start(where, NULL, k, n, &o, why, sizeof(why));
    if (rc != SK_OK)
        print_message("%s\n", why);
    assert_int_equal(rc, SK_OK);
    return o;
}

static json_int_t counter(struct output *o, unsigned sink, const char *name)
{
    char *text = output_status(o);
    json_t *root = json_loads(text, 0, NULL);
    json_int_t n = json_integer_value(json_object_get(json_array_get(json_object_get(root, "sinks"), sink), name));
    json_decref(root);
    free(text);
    return n;
}

/* Blocks B<from>.. in the order in which they came. */
static void assert_order(int from, int n)
{
    for (int i = 0; i < n; i++) {
        json_t *root = json_loads(r.got[i], 0, NULL), *item = json_object_get(root, "item");
        char want[16];
        snprintf(want, sizeof(want), "B%d", from + i);
        assert_string_equal(json_string_value(json_object_get(item, "id")), want);
        assert_string_equal(json_string_value(json_object_get(json_object_get(root, "agent"), "host")), "web-1");
        json_decref(root);
    }
}

static void test_order(void **state)
{
    (void)state;
    struct output_sink k = hook("h");
    take_blocks(&k, 0, 40);
    struct output *o = start(&k, 1);
    wait_for(40, 20);
    take_blocks(&k, 40, 5);
    wait_for(45, 10);
    assert_order(0, 45);
    wait_empty(5);
    assert_int_equal(counter(o, 0, "sent"), 45);
    assert_int_equal(counter(o, 0, "failed"), 0);
    output_stop(o);
}

/* Nothing overtakes the one that fails. */
static void test_again(void **state)
{
    (void)state;
    static const int statuses[] = {204, 500, 503};
    struct output_sink k = hook("h");
    script(statuses, 3);
    take_blocks(&k, 0, 6);
    struct output *o = start(&k, 1);
    wait_for(6, 30);
    assert_order(0, 6);
    wait_empty(5);
    assert_int_equal(counter(o, 0, "failed"), 2);
    assert_int_equal(counter(o, 0, "given_up"), 0);
    assert_int_equal(r.tries, 8);
    output_stop(o);
}

/* A stop while the receiver fails loses neither the items nor their order. */
static void test_restart(void **state)
{
    (void)state;
    static const int statuses[] = {500};
    struct output_sink k = hook("h");
    script(statuses, 1);
    take_blocks(&k, 0, 5);
    struct output *o = start(&k, 1);
    for (int i = 0; i < 500 && counter(o, 0, "failed") == 0; i++)
        usleep(10000);
    output_stop(o);
    assert_true(waiting() > 0);
    take_blocks(&k, 5, 2);
    o = start(&k, 1);
    wait_for(7, 30);
    assert_order(0, 7);
    output_stop(o);
}

static void find_audit(void *arg, const struct store_audit *a)
{
    if (strcmp(a->what, "output-given-up") == 0 && strstr(a->detail, "status 404") != NULL)
        ++*(int *)arg;
}

static void test_given_up(void **state)
{
    (void)state;
    static const int statuses[] = {404, 404, 404, 404, 404};
    struct output_sink k = hook("h");
    int found = 0;
    script(statuses, 5);
    take_blocks(&k, 0, 3);
    struct output *o = start(&k, 1);
    wait_for(2, 60);
    assert_order(1, 2);
    wait_empty(5);
    assert_int_equal(counter(o, 0, "given_up"), 1);
    assert_int_equal(r.tries, 7);
    assert_int_equal(store_audits(db, 0, 100, find_audit, &found), SK_OK);
    assert_int_equal(found, 1);
    output_stop(o);
}

/* Three days of tries are enough for one that fails by no fault of its own; the next one has its own three days. */
static void test_too_old(void **state)
{
    (void)state;
    static const int statuses[] = {500};
    struct output_sink k = hook("h");
    script(statuses, 1);
    assert_int_equal(store_begin(db), SK_OK);
    output_take(db, &k, 1, AGENT, "{\"type\":\"block\",\"id\":\"B9\",\"target\":\"192.0.2.9\",\"reason\":\"x\"}",
                sk_now_wall() / SK_NS_PER_MS - OUTPUT_AGE_MAX - 1000);
    assert_int_equal(store_commit(db), SK_OK);
    take_blocks(&k, 0, 2);
    struct output *o = start(&k, 1);
    wait_for(2, 30);
    assert_order(0, 2);
    assert_int_equal(counter(o, 0, "given_up"), 1);
    assert_int_equal(r.tries, 3);
    output_stop(o);
}

static void test_dry_run(void **state)
{
    (void)state;
    struct output_sink k = hook("h");
    k.dry_run = true;
    take_blocks(&k, 0, 3);
    struct output *o = start(&k, 1);
    wait_empty(10);
    assert_int_equal(r.tries, 0);
    assert_int_equal(counter(o, 0, "sent"), 3);
    output_stop(o);
}

static void test_not_leading(void **state)
{
    (void)state;
    struct output_sink k = hook("h");
    struct output *o = start(&k, 1);
    output_lead(o, false);
    usleep(300000);
    take_blocks(&k, 0, 2);
    usleep(700000);
    assert_int_equal(r.tries, 0);
    assert_int_equal(waiting(), 2);
    output_lead(o, true);
    wait_for(2, 10);
    output_stop(o);
}

/* One that fails does not hold up another. */
static void test_two_sinks(void **state)
{
    (void)state;
    struct output_sink k[2] = {hook("down"), hook("up")};
    snprintf(k[0].url, sizeof(k[0].url), "http://127.0.0.1:1/");
    k[1].events = false;
    take(k, 2, "{\"type\":\"block\",\"id\":\"B0\",\"target\":\"192.0.2.0\",\"reason\":\"x\"}");
    take(k, 2, "{\"type\":\"event\",\"time_ms\":1,\"event\":{\"event_type\":\"alert\",\"alert\":{}}}");
    take(k, 2, "{\"type\":\"event\",\"time_ms\":1,\"event\":{\"event_type\":\"http\"}}");
    take(k, 2, "{\"type\":\"end\",\"id\":\"B1\",\"ended_ms\":5,\"why\":\"unblocked\"}");
    assert_int_equal(waiting(), 5);
    struct output *o = start(k, 2);
    wait_for(2, 10);
    assert_order(0, 2);
    for (int i = 0; i < 500 && counter(o, 0, "failed") == 0; i++)
        usleep(10000);
    assert_true(counter(o, 0, "failed") > 0);
    wait_until_waiting(3, 10);
    output_stop(o);
}

static void test_signed(void **state)
{
    (void)state;
    struct output_sink k = hook("h");
    struct webhook w;
    char why[256], want[128];
    snprintf(k.secret_file, sizeof(k.secret_file), "%s/secret", dir);
    FILE *f = fopen(k.secret_file, "w");
    fputs("0123456789abcdef\n", f);
    fclose(f);
    struct output *o;
    chmod(k.secret_file, 0644);
    assert_int_equal(output_start(where, NULL, &k, 1, &o, why, sizeof(why)), SK_EPERM);
    chmod(k.secret_file, 0600);
    assert_int_equal(webhook_open(&k, &w, why, sizeof(why)), SK_OK);
    o = start(&k, 1);
    take_blocks(&k, 0, 1);
    wait_for(1, 10);
    output_stop(o);
    char *at = strstr(r.headers, "X-Sekisho-Signature: ");
    assert_non_null(at);
    int64_t seconds = strtoll(at + strlen("X-Sekisho-Signature: t="), NULL, 10);
    assert_true(seconds > sk_now_wall() / SK_NS_PER_S - 60);
    assert_int_equal(webhook_sign(&w, seconds, r.got[0], strlen(r.got[0]), want), SK_OK);
    assert_memory_equal(at + strlen("X-Sekisho-Signature: "), want, strlen(want));
}

/* Beside the fields of an item an agent may write what it likes; it goes nowhere. */
static void test_only_known_fields(void **state)
{
    (void)state;
    struct output_sink k = hook("h");
    struct output *o = start(&k, 1);
    take(&k, 1,
         "{\"type\":\"block\",\"id\":\"B0\",\"target\":\"192.0.2.0\",\"reason\":\"x\",\"junk\":\"junk\",\"event\":{"
         "\"a\":1}}");
    wait_for(1, 10);
    output_stop(o);
    assert_order(0, 1);
    assert_null(strstr(r.got[0], "junk"));
    assert_null(strstr(r.got[0], "event"));
}

static void test_start_refuses(void **state)
{
    (void)state;
    struct output_sink k = hook("h");
    struct output *o;
    char why[256] = "";
    snprintf(k.url, sizeof(k.url), "http://example.com/");
    assert_int_equal(output_start(where, NULL, &k, 1, &o, why, sizeof(why)), SK_EINVAL);
    assert_null(o);
    assert_non_null(strstr(why, "https"));
    k.kind = OUTPUT_SNS;
    assert_int_equal(output_start(where, NULL, &k, 1, &o, why, sizeof(why)), SK_EINVAL);
    assert_int_equal(output_start(where, NULL, &k, OUTPUT_SINKS_MAX + 1, &o, why, sizeof(why)), SK_EFULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_order),   T(test_again),         T(test_restart),           T(test_given_up),
        T(test_too_old), T(test_dry_run),       T(test_not_leading),       T(test_two_sinks),
        T(test_signed),  T(test_start_refuses), T(test_only_known_fields),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
