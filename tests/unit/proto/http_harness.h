/*
 * Feeds conversations to the HTTP inspector and writes down what a user of it sees. A conversation is a list of steps;
 * run_split cuts one step at every position, run_bytes feeds single bytes: the log must not depend on it.
 */
#ifndef HTTP_HARNESS_H
#define HTTP_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "proto/http.h"

#define ALL_BUFS 0xffffffffu

struct step {
    int dir;
    const char *data;
    uint32_t len; /* 0: strlen */
    unsigned flags;
};

struct seen {
    char method[32], url[512], host[128], status[16], type[64];
    char uri[512], body[2][4096];
    bool has_uri;
    uint64_t body_len[2], events;
    uint32_t kept[2];
    unsigned progress[2];
};

struct harness {
    struct http_ctx *ctx;
    struct http_conn *conn;
    struct http_conf conf;
    struct sk_counters counters;
    uint32_t want[2];
    enum http_result result;
    uint32_t used;
    unsigned ndone, nheaders[2], ncomplete[2], nbody[2];
    struct seen tx[64];
    char *log;
    size_t log_len;
    bool log_bufs;
};

static void h_log(struct harness *h, const void *p, size_t n)
{
    h->log = (char *)realloc(h->log, h->log_len + n + 1);
    assert_non_null(h->log);
    memcpy(h->log + h->log_len, p, n);
    h->log_len += n;
    h->log[h->log_len] = 0;
}

static void h_logf(struct harness *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void h_logf(struct harness *h, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    h_log(h, line, (size_t)n);
}

static void h_copy(char *out, size_t cap, struct sk_span s)
{
    size_t n = s.len < cap - 1 ? s.len : cap - 1;
    if (n > 0)
        memcpy(out, s.p, n);
    out[n] = 0;
}

__attribute__((unused)) static void h_log_buffers(struct harness *h, struct http_tx *tx)
{
    for (int d = 0; d < 2; d++) {
        for (unsigned b = 0; b < HTTP_BUF_COUNT; b++) {
            struct sk_span s;
            struct http_buf_info info;
            for (unsigned i = 0; http_buffer(tx, d, (enum http_buf)b, i, &s, &info); i++) {
                h_logf(h, "[%d %u %u %d] ", d, b, i, info.complete);
                h_log(h, s.p, s.len);
                h_logf(h, "\n");
            }
        }
        struct http_file f;
        for (unsigned i = 0; http_tx_file(tx, d, i, &f); i++) {
            h_logf(h, "file %u of %llu%s%s %.*s\n", f.data.len, (unsigned long long)f.size,
                   f.truncated ? " truncated" : "", f.gaps ? " gaps" : "", (int)f.name.len,
                   f.name.len ? (const char *)f.name.p : "");
        }
    }
}

static void h_done(void *arg, struct http_conn *conn, struct http_tx *tx)
{
    struct harness *h = (struct harness *)arg;
    (void)conn;
    struct seen *s = &h->tx[h->ndone % 64];
    struct sk_span b;
    h->ndone++;
    h_copy(s->method, sizeof s->method, http_tx_method(tx));
    h_copy(s->url, sizeof s->url, http_tx_url(tx));
    h_copy(s->host, sizeof s->host, http_tx_hostname(tx));
    h_copy(s->status, sizeof s->status, http_tx_status_text(tx));
    s->has_uri = http_buffer(tx, HTTP_TS, HTTP_BUF_URI, 0, &b, NULL);
    h_copy(s->uri, sizeof s->uri, b);
    for (int d = 0; d < 2; d++) {
        http_buffer(tx, d, d == HTTP_TS ? HTTP_BUF_REQUEST_BODY : HTTP_BUF_RESPONSE_BODY, 0, &b, NULL);
        h_copy(s->body[d], sizeof s->body[d], b);
        s->kept[d] = b.len;
        s->body_len[d] = http_body_len(tx, d);
        s->progress[d] = http_tx_progress(tx, d);
    }
    s->events = http_tx_events(tx);
    h_logf(h, "tx %u progress %u %u length %llu %llu events %llx\n", http_tx_id(tx), s->progress[0], s->progress[1],
           (unsigned long long)s->body_len[0], (unsigned long long)s->body_len[1], (unsigned long long)s->events);
    if (h->log_bufs)
        h_log_buffers(h, tx);
}

static void h_progress(void *arg, struct http_conn *conn, struct http_tx *tx, int dir, enum http_progress p)
{
    struct harness *h = (struct harness *)arg;
    (void)conn;
    (void)tx;
    if (p == HTTP_P_HEADERS)
        h->nheaders[dir]++;
    else if (p == HTTP_P_COMPLETE)
        h->ncomplete[dir]++;
    else
        h->nbody[dir]++;
}

static void h_begin(struct harness *h)
{
    struct http_callbacks cb = {.arg = h, .on_progress = h_progress, .on_tx_done = h_done};
    assert_int_equal(http_create(&h->conf, &cb, &h->counters, &h->ctx), SK_OK);
    h->conn = http_conn_create(h->ctx, NULL);
    assert_non_null(h->conn);
    http_set_want(h->conn, HTTP_TS, h->want[0]);
    http_set_want(h->conn, HTTP_TC, h->want[1]);
    h->result = HTTP_R_OK;
}

/* A copy of exact size, so that the sanitizer sees a read past its end. */
static void h_feed(struct harness *h, int dir, const void *p, uint32_t len, unsigned flags)
{
    uint8_t *copy = (uint8_t *)malloc(len ? len : 1);
    assert_non_null(copy);
    if (len > 0 && p != NULL)
        memcpy(copy, p, len);
    h->result = http_input(h->conn, dir, sk_span_of(copy, len), flags, 0, &h->used);
    free(copy);
}

static void h_end(struct harness *h)
{
    h_feed(h, HTTP_TS, "", 0, HTTP_F_EOF);
    h_feed(h, HTTP_TC, "", 0, HTTP_F_EOF);
    http_conn_free(h->conn);
    http_free(h->ctx);
    h->conn = NULL;
    h->ctx = NULL;
}

static void h_init(struct harness *h)
{
    memset(h, 0, sizeof *h);
    http_conf_defaults(&h->conf);
    h->want[0] = h->want[1] = ALL_BUFS;
}

static uint32_t step_len(const struct step *s)
{
    return s->len ? s->len : (uint32_t)strlen(s->data);
}

/* One call a step. */
__attribute__((unused)) static void run_steps(struct harness *h, const struct step *steps, unsigned n)
{
    h_begin(h);
    for (unsigned i = 0; i < n; i++)
        h_feed(h, steps[i].dir, steps[i].data, step_len(&steps[i]), steps[i].flags);
    h_end(h);
}
#define RUN(h, steps) run_steps(h, steps, sizeof(steps) / sizeof *(steps))

/* Step `which` cut at `at` (or into single bytes when at is UINT32_MAX). */
__attribute__((unused)) static void run_cut(struct harness *h, const struct step *steps, unsigned n, unsigned which,
                                            uint32_t at)
{
    h_begin(h);
    for (unsigned i = 0; i < n; i++) {
        const struct step *s = &steps[i];
        uint32_t len = step_len(s);
        if (at == UINT32_MAX) {
            for (uint32_t k = 0; k < len; k++)
                h_feed(h, s->dir, s->data + k, 1, s->flags);
        } else if (i == which && at < len) {
            h_feed(h, s->dir, s->data, at, s->flags);
            h_feed(h, s->dir, s->data + at, len - at, s->flags);
        } else {
            h_feed(h, s->dir, s->data, len, s->flags);
        }
    }
    h_end(h);
}

/* The log of whole steps, of every cut, and of single bytes must be the same. */
__attribute__((unused)) static void check_splits(const struct step *steps, unsigned n)
{
    struct harness *h = (struct harness *)calloc(1, sizeof *h);
    assert_non_null(h);
    h_init(h);
    h->log_bufs = true;
    run_steps(h, steps, n);
    char *want = h->log;
    for (unsigned i = 0; i < n; i++) {
        for (uint32_t at = 1; at < step_len(&steps[i]); at++) {
            h_init(h);
            h->log_bufs = true;
            run_cut(h, steps, n, i, at);
            if (strcmp(h->log, want) != 0)
                print_message("step %u cut at %u\n", i, at);
            assert_string_equal(h->log, want);
            free(h->log);
        }
    }
    h_init(h);
    h->log_bufs = true;
    run_cut(h, steps, n, 0, UINT32_MAX);
    assert_string_equal(h->log, want);
    free(h->log);
    free(want);
    free(h);
}
#define CHECK_SPLITS(steps) check_splits(steps, sizeof(steps) / sizeof *(steps))

/* The buffer of the transaction done last holds exactly this text (NULL: does not exist). Needs log_bufs. */
__attribute__((unused)) static void expect(struct harness *h, int dir, enum http_buf buf, unsigned index,
                                           const char *text)
{
    char head[64], *line = (char *)malloc(strlen(text ? text : "") + 80);
    assert_non_null(line);
    for (int complete = 0; complete < 2; complete++) {
        snprintf(head, sizeof head, "[%d %u %u %d] ", dir, (unsigned)buf, index, complete);
        sprintf(line, "%s%s\n", head, text ? text : "");
        if (strstr(h->log, text ? line : head) != NULL) {
            if (text == NULL)
                fail_msg("buffer %u of direction %d exists", (unsigned)buf, dir);
            free(line);
            return;
        }
    }
    free(line);
    if (text != NULL)
        fail_msg("buffer %u of direction %d is not '%s' in:\n%s", (unsigned)buf, dir, text, h->log);
}

#endif
