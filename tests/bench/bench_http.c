/*
 * How fast is the HTTP inspector? Keep-alive requests with responses of 1 to 120 KB in pieces of 1448 bytes (or 64
 * KiB), plain or gzip; without and with bodies wanted. Prints bytes on the wire a second.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zlib.h>
#include "proto/http.h"

#define REQUESTS 20000

static const char req[] = "GET /some/path/index.html?id=12345&name=value HTTP/1.1\r\nHost: www.example.com\r\n"
                          "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n"
                          "Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\n"
                          "Accept-Language: en-US,en;q=0.5\r\nCookie: session=0123456789abcdef\r\n"
                          "Connection: keep-alive\r\nReferer: http://www.example.com/\r\n\r\n";

struct sample {
    uint8_t *p;
    uint32_t len;
};

static void on_progress(void *arg, struct http_conn *conn, struct http_tx *tx, int dir, enum http_progress p)
{
    struct sk_span s;
    (void)conn;
    if (p == HTTP_P_HEADERS && dir == HTTP_TS)
        *(uint64_t *)arg +=
            http_buffer(tx, dir, HTTP_BUF_URI, 0, &s, NULL) + http_buffer(tx, dir, HTTP_BUF_HEADER, 0, &s, NULL);
}

static uint32_t body_make(uint8_t *out, uint32_t size, bool gzip)
{
    static uint8_t text[120 * 1024];
    for (uint32_t i = 0; i < size; i++)
        text[i] = (uint8_t)("<div class=\"x\">lorem ipsum</div>\n"[i % 33] ^ (i % 977 == 0));
    if (!gzip) {
        memcpy(out, text, size);
        return size;
    }
    z_stream z = {0};
    if (deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    z.next_in = text;
    z.avail_in = size;
    z.next_out = out;
    z.avail_out = 128 * 1024;
    deflate(&z, Z_FINISH);
    uint32_t n = 128 * 1024 - z.avail_out;
    deflateEnd(&z);
    return n;
}

static struct sample response_make(uint32_t size, bool gzip)
{
    uint8_t *body = (uint8_t *)malloc(128 * 1024), *out = (uint8_t *)malloc(130 * 1024);
    if (body == NULL || out == NULL)
        exit(1);
    uint32_t len = body_make(body, size, gzip);
    int head = sprintf((char *)out,
                       "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\n%sContent-Length: %u\r\n\r\n",
                       gzip ? "Content-Encoding: gzip\r\n" : "", len);
    memcpy(out + head, body, len);
    free(body);
    return (struct sample){.p = out, .len = (uint32_t)head + len};
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void run(const char *name, bool gzip, uint32_t want, uint32_t piece)
{
    uint64_t seen = 0, bytes = 0;
    struct http_callbacks cb = {.arg = &seen, .on_progress = on_progress};
    static struct sk_counters counters;
    struct http_conf conf;
    struct http_ctx *ctx;
    struct sample resp[8];
    http_conf_defaults(&conf);
    conf.tx_user_size = 256;
    for (uint32_t i = 0; i < 8; i++)
        resp[i] = response_make(1024 + i * 8192, gzip);
    if (http_create(&conf, &cb, &counters, &ctx) != SK_OK)
        exit(1);
    struct http_conn *conn = http_conn_create(ctx, NULL);
    http_set_want(conn, HTTP_TC, want);
    double t = now();
    for (unsigned i = 0; i < REQUESTS; i++) {
        http_input(conn, HTTP_TS, sk_span_of(req, sizeof req - 1), 0, i, NULL);
        const struct sample *r = &resp[i % 8];
        for (uint32_t at = 0; at < r->len; at += piece)
            http_input(conn, HTTP_TC, sk_span_of(r->p + at, r->len - at < piece ? r->len - at : piece), 0, i, NULL);
        bytes += r->len + sizeof req - 1;
    }
    t = now() - t;
    printf("%-28s %8.0f requests/s %8.1f MB/s\n", name, REQUESTS / t, (double)bytes / t / 1e6);
    http_conn_free(conn);
    http_free(ctx);
    for (unsigned i = 0; i < 8; i++)
        free(resp[i].p);
}

int main(void)
{
    uint32_t bodies = 1u << HTTP_BUF_RESPONSE_BODY;
    run("plain, not wanted, 1448", false, 0, 1448);
    run("plain, wanted, 1448", false, bodies, 1448);
    run("plain, wanted, 65536", false, bodies, 65536);
    run("gzip, not wanted, 1448", true, 0, 1448);
    run("gzip, wanted, 1448", true, bodies, 1448);
    return 0;
}
