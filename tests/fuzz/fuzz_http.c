/*
 * Two bytes of settings, then a conversation: "@@" changes the direction (it begins with the client), "@%" is a gap.
 * The first byte says into which pieces the bytes are cut, the second which limits are tight and what is wanted. The
 * client's first bytes go through protocol detection too.
 */
#include <stdlib.h>
#include "proto/http.h"
#include "proto/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static void look(struct sk_span s)
{
    for (uint32_t i = 0; i < s.len; i++)
        sink += s.p[i];
}

static void look_all(struct http_tx *tx)
{
    struct sk_span s, v;
    struct http_buf_info info;
    struct http_file f;
    struct http_arg arg;
    struct http_header_line lines[5];
    for (int d = 0; d < 2; d++) {
        for (unsigned b = 0; b < HTTP_BUF_COUNT; b++) {
            for (unsigned i = 0; http_buffer(tx, d, (enum http_buf)b, i, &s, &info); i++)
                look(s);
        }
        for (unsigned i = 0; http_tx_file(tx, d, i, &f); i++) {
            look(f.name);
            look(f.data);
        }
        for (unsigned i = 0; http_header_at(tx, d, i, &s, &v); i++)
            look(v);
        for (unsigned i = 0; http_header_get(tx, d, "X-Forwarded-For", i, &s); i++)
            look(s);
        for (unsigned i = http_tx_header_lines(tx, d, "X-Forwarded-For", lines, 5); i > 0; i--)
            look(lines[i - 1].value);
    }
    for (unsigned i = 0; http_tx_arg(tx, i, &arg); i++) {
        look(arg.name);
        look(arg.value);
    }
    look(http_tx_method(tx));
    look(http_tx_url(tx));
    look(http_tx_hostname(tx));
    look(http_tx_protocol(tx));
    sink += http_tx_port(tx) + http_tx_status(tx);
}

static void on_progress(void *arg, struct http_conn *conn, struct http_tx *tx, int dir, enum http_progress p)
{
    (void)arg;
    (void)conn;
    (void)dir;
    if (p != HTTP_P_BODY)
        look_all(tx);
}

static void on_done(void *arg, struct http_conn *conn, struct http_tx *tx)
{
    (void)arg;
    (void)conn;
    look_all(tx);
}

static void feed(struct http_conn *conn, int dir, const uint8_t *p, size_t len, uint32_t piece)
{
    while (len > 0) {
        uint32_t n = piece && piece < len ? piece : (uint32_t)len, used;
        uint8_t *copy = (uint8_t *)malloc(n);
        if (copy == NULL)
            return;
        memcpy(copy, p, n);
        http_input(conn, dir, sk_span_of(copy, n), 0, 1, &used);
        if (used > n)
            abort();
        free(copy);
        p += n;
        len -= n;
        piece = piece ? piece * 5 % 61 + 1 : 0;
    }
}

static void converse(struct http_conn *conn, const uint8_t *p, size_t len, uint32_t piece)
{
    int dir = HTTP_TS;
    size_t from = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        if (p[i] != '@' || (p[i + 1] != '@' && p[i + 1] != '%'))
            continue;
        feed(conn, dir, p + from, i - from, piece);
        if (p[i + 1] == '@')
            dir = !dir;
        else
            http_input(conn, dir, sk_span_of(NULL, 7), HTTP_F_GAP, 1, NULL);
        from = ++i + 1;
    }
    if (from < len)
        feed(conn, dir, p + from, len - from, piece);
    http_input(conn, HTTP_TS, (struct sk_span){0}, HTTP_F_EOF, 2, NULL);
    http_input(conn, HTTP_TC, (struct sk_span){0}, HTTP_F_EOF, 2, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sk_counters counters;
    struct http_callbacks cb = {.on_progress = on_progress, .on_tx_done = on_done};
    struct http_conf conf;
    struct http_ctx *ctx;
    if (size < 2)
        return 0;
    struct proto_probe probe = {.server_port = data[1]};
    proto_probe(&probe, data[0] & 1, sk_span_of(data + 2, size > 200 ? 100 : (uint32_t)size - 2), false, false);
    http_conf_defaults(&conf);
    conf.tx_user_size = data[1];
    if (data[1] & 1)
        conf.header_limit = 128;
    if (data[1] & 2)
        conf.memcap = 40000;
    if (data[1] & 4)
        conf.request_body_limit = conf.response_body_limit = 64;
    if (data[1] & 8)
        conf.max_tx = 2;
    if (http_create(&conf, &cb, &counters, &ctx) != SK_OK)
        return 0;
    struct http_conn *conn = http_conn_create(ctx, NULL);
    if (conn != NULL) {
        http_set_want(conn, HTTP_TS, data[1] & 16 ? 0 : UINT32_MAX);
        http_set_want(conn, HTTP_TC, data[1] & 32 ? 0 : UINT32_MAX);
        converse(conn, data + 2, size - 2, data[0]);
        http_conn_free(conn);
    }
    http_free(ctx);
    return 0;
}
