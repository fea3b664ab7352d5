/* Requests against server.py: good answers, bad ones, TLS with right and wrong certificates, many at once. */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "fetch/fetch.h"

static char dir[] = "/tmp/sekisho-fetch-XXXXXX";
static pid_t pid;
static int server_in = -1;
static unsigned port_http, port_tls, port_mtls, port_old, port_other;
static char ca[64], wrong_ca[64], cert[64], key[64], strange_cert[64], strange_key[64];

static void run_server(int in, int out)
{
    dup2(in, 0);
    dup2(out, 1);
    execlp("python3", "python3", "tests/unit/fetch/server.py", dir, (char *)NULL);
    _exit(127);
}

static int start_server(void **state)
{
    (void)state;
    int in[2], out[2];
    if (mkdtemp(dir) == NULL || pipe2(in, 0) != 0 || pipe2(out, 0) != 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        close(in[1]);
        run_server(in[0], out[1]);
    }
    close(in[0]);
    close(out[1]);
    server_in = in[1];
    FILE *f = fdopen(out[0], "r");
    int n = fscanf(f, "%u %u %u %u %u", &port_http, &port_tls, &port_mtls, &port_old, &port_other);
    fclose(f);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    snprintf(wrong_ca, sizeof wrong_ca, "%s/other.pem", dir);
    snprintf(cert, sizeof cert, "%s/client.pem", dir);
    snprintf(key, sizeof key, "%s/client.key", dir);
    snprintf(strange_cert, sizeof strange_cert, "%s/stranger.pem", dir);
    snprintf(strange_key, sizeof strange_key, "%s/stranger.key", dir);
    return n == 5 ? fetch_init() : -1;
}

static int stop_server(void **state)
{
    (void)state;
    fetch_thread_end();
    close(server_in);
    waitpid(pid, NULL, 0);
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    return rmdir(dir);
}

static const char *url_of(const char *scheme, unsigned port, const char *path)
{
    static _Thread_local char url[128];
    snprintf(url, sizeof url, "%s://127.0.0.1:%u%s", scheme, port, path);
    return url;
}

static struct fetch_request request(const char *path)
{
    return (struct fetch_request){.method = "GET", .url = url_of("http", port_http, path), .timeout_ms = 10000};
}

/* Does it, and returns what became of it. */
static enum fetch_result try(const struct fetch_request *q, struct fetch_response *r)
{
    int rc = fetch_do(q, r);
    assert_int_equal(rc == SK_OK, r->result == FETCH_ANSWERED);
    assert_int_equal(r->result == FETCH_ANSWERED, r->status != 0);
    assert_int_equal(r->result == FETCH_ANSWERED, r->body != NULL);
    assert_int_equal(r->result == FETCH_ANSWERED, r->text[0] == '\0');
    return r->result;
}

static void expect(const struct fetch_request *q, enum fetch_result want)
{
    struct fetch_response r;
    enum fetch_result got = try(q, &r);
    if (got != want)
        print_error("%s: result %d, %s\n", q->url, got, r.text);
    fetch_response_free(&r);
    assert_int_equal(got, want);
}

static void test_get(void **state)
{
    (void)state;
    static const char *const headers[] = {"X-One: 1", "x-two: a b"};
    struct fetch_request q = request("/echo");
    q.headers = headers;
    q.nheaders = 2;
    struct fetch_response r;
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_int_equal(r.status, 200);
    assert_int_equal(strlen(r.body), r.body_len);
    assert_non_null(strstr(r.body, "\"method\": \"GET\""));
    assert_non_null(strstr(r.body, "[\"Host\", \"User-Agent\", \"X-One\", \"x-two\"]"));
    assert_string_equal(r.peer, "127.0.0.1");
    assert_int_equal(r.retry_after, -1);
    assert_int_equal(r.date, 0);
    fetch_response_free(&r);
}

static void test_bodies(void **state)
{
    (void)state;
    static const char *const methods[] = {"POST", "PUT", "DELETE"};
    struct fetch_request q = request("/echo");
    for (int i = 0; i < 3; i++) {
        char want[32];
        struct fetch_response r;
        q.method = methods[i];
        q.body = "a\0b";
        q.body_len = 3;
        snprintf(want, sizeof want, "\"method\": \"%s\"", methods[i]);
        assert_int_equal(try(&q, &r), FETCH_ANSWERED);
        assert_non_null(strstr(r.body, want));
        assert_non_null(strstr(r.body, "\"body\": \"a\\u0000b\""));
        assert_null(strstr(r.body, "Content-Type"));
        fetch_response_free(&r);
    }
}

static void test_empty_bodies(void **state)
{
    (void)state;
    struct fetch_request q = request("/echo");
    q.method = "PUT"; /* IMDS wants the length said */
    struct fetch_response r;
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_non_null(strstr(r.body, "Content-Length: 0"));
    fetch_response_free(&r);
    q.method = "DELETE";
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_null(strstr(r.body, "Content-Length"));
    fetch_response_free(&r);
}

static void test_aws_headers(void **state)
{
    (void)state;
    struct fetch_request q = request("/aws");
    struct fetch_response r;
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_int_equal(r.status, 400);
    assert_int_equal(r.date, 1704164645 * SK_NS_PER_S);
    assert_int_equal(r.retry_after, 7);
    assert_string_equal(r.error_type, "WAFOptimisticLockException");
    fetch_response_free(&r);
    q.url = url_of("http", port_http, "/early");
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_int_equal(r.retry_after, -1);
    assert_string_equal(r.body, "late");
    fetch_response_free(&r);
}

static void test_size(void **state)
{
    (void)state;
    struct fetch_request q = request("/big1000");
    struct fetch_response r;
    q.response_max = 1000;
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_int_equal(r.body_len, 1000);
    fetch_response_free(&r);
    q.response_max = 999;
    expect(&q, FETCH_TOO_LARGE);
    q.response_max = 0;
    q.url = url_of("http", port_http, "/big1048576");
    expect(&q, FETCH_ANSWERED);
    q.url = url_of("http", port_http, "/big1048577");
    expect(&q, FETCH_TOO_LARGE);
    q.url = url_of("http", port_http, "/longhead");
    expect(&q, FETCH_TOO_LARGE);
}

static void test_broken_answers(void **state)
{
    (void)state;
    static const char *const paths[] = {"/truncated", "/endless", "/garbage", "/reset"};
    for (int i = 0; i < 4; i++) {
        struct fetch_request q = request(paths[i]);
        expect(&q, FETCH_UNREACHABLE);
    }
}

static void test_framing(void **state)
{
    (void)state;
    struct fetch_response r;
    struct fetch_request q = request("/chunked");
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_string_equal(r.body, "abcde");
    fetch_response_free(&r);
    q = request("/toclose");
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_string_equal(r.body, "to the end");
    fetch_response_free(&r);
    q = request("/status204");
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_int_equal(r.status, 204);
    assert_string_equal(r.body, "");
    fetch_response_free(&r);
}

static void test_no_redirect(void **state)
{
    (void)state;
    struct fetch_response r;
    struct fetch_request q = request("/redirect");
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    assert_int_equal(r.status, 302);
    fetch_response_free(&r);
}

static void test_timeout(void **state)
{
    (void)state;
    struct fetch_request q = request("/slow");
    q.timeout_ms = 200;
    int64_t begun = sk_now_mono();
    expect(&q, FETCH_TIMEOUT);
    assert_true(sk_now_mono() - begun < 2 * SK_NS_PER_S);
}

static void test_unreachable(void **state)
{
    (void)state;
    struct fetch_request q = request("/");
    q.url = "http://127.0.0.1:1/";
    expect(&q, FETCH_UNREACHABLE);
    q.url = "http://nobody.invalid/";
    expect(&q, FETCH_UNREACHABLE);
}

static void test_senseless(void **state)
{
    (void)state;
    static const char *const bad[] = {"X: a\r\nY: b", "no colon", ": x", "Empty: "};
    struct fetch_request q = request("/echo");
    for (int i = 0; i < 4; i++) {
        q.headers = &bad[i];
        q.nheaders = 1;
        expect(&q, FETCH_FAILED);
    }
    q.nheaders = 0;
    q.url = "file:///etc/passwd";
    expect(&q, FETCH_FAILED);
    q.url = "http://[::1/";
    expect(&q, FETCH_FAILED);
    q = request("/echo");
    q.method = "GET / HTTP/1.1\r\nX: y\r\n";
    expect(&q, FETCH_FAILED);
    q = request("/echo");
    q.timeout_ms = 0;
    expect(&q, FETCH_FAILED);
}

static void test_no_proxy(void **state)
{
    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    struct fetch_request q = request("/echo");
    expect(&q, FETCH_ANSWERED);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
}

static int ask_number(const char *path)
{
    struct fetch_request q = request(path);
    struct fetch_response r;
    assert_int_equal(try(&q, &r), FETCH_ANSWERED);
    int n = atoi(r.body);
    fetch_response_free(&r);
    return n;
}

static void test_connection_kept(void **state)
{
    (void)state;
    int first = ask_number("/port");
    assert_int_equal(ask_number("/port"), first);
    fetch_thread_end();
    assert_int_not_equal(ask_number("/port"), first);
}

/* On a connection that was kept, libcurl takes a reset for an end that nobody noticed, and sends again. */
static void test_once(void **state)
{
    (void)state;
    int before = ask_number("/resets");
    struct fetch_request q = request("/reset");
    q.method = "POST";
    q.once = true;
    expect(&q, FETCH_UNREACHABLE);
    assert_int_equal(ask_number("/resets"), before + 1);
    q.url = url_of("http", port_http, "/reset");
    q.once = false;
    expect(&q, FETCH_UNREACHABLE);
    assert_int_equal(ask_number("/resets"), before + 3);
}

static void test_tls(void **state)
{
    (void)state;
    struct fetch_tls right = {.ca_file = ca}, wrong = {.ca_file = wrong_ca}, none = {.ca_file = "/nonexistent"};
    struct fetch_request q = request("/echo");
    q.url = url_of("https", port_tls, "/echo");
    q.tls = &right;
    expect(&q, FETCH_ANSWERED);
    q.tls = &wrong; /* also when there is a connection that the right one made */
    expect(&q, FETCH_TLS);
    q.tls = NULL;
    expect(&q, FETCH_TLS);
    q.tls = &none;
    expect(&q, FETCH_FAILED);
    q.tls = &right;
    q.url = url_of("https", port_old, "/echo");
    expect(&q, FETCH_TLS);
    q.url = url_of("https", port_other, "/echo");
    expect(&q, FETCH_TLS);
    q.url = url_of("https", port_http, "/echo");
    expect(&q, FETCH_UNREACHABLE); /* closes: it has not understood */
}

static void test_client_certificate(void **state)
{
    (void)state;
    struct fetch_tls ours = {.ca_file = ca, .cert_file = cert, .key_file = key}, no_cert = {.ca_file = ca};
    struct fetch_tls strange = {.ca_file = ca, .cert_file = strange_cert, .key_file = strange_key};
    struct fetch_tls mixed = {.ca_file = ca, .cert_file = cert, .key_file = strange_key};
    struct fetch_request q = request("/echo");
    q.url = url_of("https", port_mtls, "/echo");
    q.tls = &ours;
    expect(&q, FETCH_ANSWERED);
    q.tls = &no_cert;
    expect(&q, FETCH_TLS);
    q.tls = &strange;
    expect(&q, FETCH_TLS);
    fetch_thread_end(); /* a connection that is there is used, whatever the key file says now */
    q.tls = &mixed;
    expect(&q, FETCH_FAILED);
}

/* ---- the loop ---- */

static struct fetch_loop *loop;
static unsigned answered, failed;
static uint64_t victim;

static void count(void *arg, const struct fetch_response *r)
{
    (void)arg;
    if (r->result == FETCH_ANSWERED)
        answered++;
    else
        failed++;
}

static int make_loop(void **state)
{
    (void)state;
    answered = failed = 0;
    return fetch_loop_create(&loop);
}

static int drop_loop(void **state)
{
    (void)state;
    fetch_loop_free(loop);
    return 0;
}

static void start(const char *path, fetch_fn *fn, uint64_t *id)
{
    struct fetch_request q = request(path);
    assert_int_equal(fetch_start(loop, &q, fn, NULL, id), SK_OK);
}

static void run_for(int64_t ms)
{
    int64_t end = sk_now_mono() + ms * SK_NS_PER_MS;
    while (fetch_active(loop) > 0 && sk_now_mono() < end)
        assert_int_equal(fetch_loop_run(loop, NULL, 0, 50), SK_OK);
}

static void test_many_at_once(void **state)
{
    (void)state;
    int64_t begun = sk_now_mono();
    for (int i = 0; i < 20; i++)
        start("/nap", count, NULL);
    start("/reset", count, NULL);
    run_for(10000);
    assert_int_equal(answered, 20);
    assert_int_equal(failed, 1);
    assert_true(sk_now_mono() - begun < 3 * SK_NS_PER_S);
}

static void test_copies(void **state)
{
    (void)state;
    char url[64], header[] = "X-A: b", body[] = "body", method[] = "POST";
    const char *headers[] = {header};
    snprintf(url, sizeof url, "%s", url_of("http", port_http, "/echo"));
    struct fetch_request q = {.method = method, .url = url, .headers = headers, .nheaders = 1, .timeout_ms = 5000};
    q.body = body;
    q.body_len = 4;
    assert_int_equal(fetch_start(loop, &q, count, NULL, NULL), SK_OK);
    memset(url, 'x', sizeof url - 1);
    memset(header, 'x', sizeof header - 1);
    memset(body, 'x', sizeof body - 1);
    memset(method, 'x', sizeof method - 1);
    run_for(5000);
    assert_int_equal(answered, 1);
}

static void chain(void *arg, const struct fetch_response *r)
{
    count(arg, r);
    fetch_cancel(loop, victim);
    if (answered < 5)
        start("/echo", chain, NULL);
}

static void test_start_and_cancel_in_callback(void **state)
{
    (void)state;
    start("/slow", count, &victim);
    start("/echo", chain, NULL);
    run_for(5000);
    assert_int_equal(answered, 5);
    assert_int_equal(failed, 0);
    assert_int_equal(fetch_active(loop), 0);
    fetch_cancel(loop, victim);
    fetch_cancel(loop, 0);
}

static void test_free_under_way(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        start("/slow", count, NULL);
    assert_int_equal(fetch_loop_run(loop, NULL, 0, 20), SK_OK);
    assert_int_equal(fetch_active(loop), 3);
}

static void test_extra_descriptors(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe2(p, 0), 0);
    struct pollfd extra[2] = {{.fd = -1, .events = POLLIN}, {.fd = p[0], .events = POLLIN}};
    int64_t begun = sk_now_mono();
    assert_int_equal(fetch_loop_run(loop, extra, 2, 100), SK_OK);
    assert_true(sk_now_mono() - begun >= 90 * SK_NS_PER_MS);
    assert_int_equal(extra[1].revents, 0);
    assert_int_equal(write(p[1], "x", 1), 1);
    assert_int_equal(fetch_loop_run(loop, extra, 2, 5000), SK_OK);
    assert_int_equal(extra[1].revents, POLLIN);
    assert_int_equal(read(p[0], &(char){0}, 1), 1);
    close(p[1]);
    assert_int_equal(fetch_loop_run(loop, extra, 2, 5000), SK_OK);
    assert_true(extra[1].revents & POLLHUP);
    assert_true(sk_now_mono() - begun < 3 * SK_NS_PER_S);
    close(p[0]);
}

static void test_loop_refuses(void **state)
{
    (void)state;
    struct fetch_request q = request("/echo");
    q.method = "BREW";
    assert_int_equal(fetch_start(loop, &q, count, NULL, NULL), SK_EINVAL);
    assert_int_equal(fetch_active(loop), 0);
}

static void *fetch_a_few(void *arg)
{
    for (int i = 0; i < 10; i++) {
        struct fetch_request q = request("/echo");
        struct fetch_response r;
        if (fetch_do(&q, &r) == SK_OK)
            __atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
        fetch_response_free(&r);
    }
    fetch_thread_end();
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t t[8];
    int good = 0;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, fetch_a_few, &good), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(good, 80);
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, make_loop, drop_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_empty_bodies),
        cmocka_unit_test(test_aws_headers),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_no_redirect),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_senseless),
        cmocka_unit_test(test_no_proxy),
        cmocka_unit_test(test_connection_kept),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_client_certificate),
        LOOP_TEST(test_many_at_once),
        LOOP_TEST(test_copies),
        LOOP_TEST(test_start_and_cancel_in_callback),
        LOOP_TEST(test_free_under_way),
        LOOP_TEST(test_extra_descriptors),
        LOOP_TEST(test_loop_refuses),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
