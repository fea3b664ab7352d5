/*
 * A request's way through the network thread: head → body → JSON → fields, then suspended and into the queue; back from
 * there with its answer. Refusals that the head shows are sent behind the body, so that the connection lives on, unless
 * the body is long or its framing cannot be trusted.
 */
#include <ctype.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include "api_priv.h"

/* --- head --- */

struct framing {
    unsigned lengths, codings, hosts;
    bool bad, expects;
    int64_t length;
};

/* What may not stand in a name is how a length is hidden from one of two readers. */
static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] <= ' ' || s[i] > '~' || strchr("\"(),/:;<=>?@[\\]{}", s[i]) != NULL)
            return false;
    return len > 0;
}

static void take_length(struct framing *f, const char *value)
{
    size_t n = value != NULL ? strlen(value) : 0;
    f->lengths++;
    if (n < 1 || n > 15 || strspn(value, "0123456789") != n)
        f->bad = true;
    else
        f->length = strtoll(value, NULL, 10);
}

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *key, size_t nkey, const char *value,
                                 size_t nvalue)
{
    struct framing *f = (struct framing *)arg;
    (void)kind;
    f->bad |= !is_token(key, nkey) || (value != NULL && strlen(value) != nvalue);
    if (strcasecmp(key, "Content-Length") == 0)
        take_length(f, value);
    else if (strcasecmp(key, "Transfer-Encoding") == 0)
        f->codings++;
    else if (strcasecmp(key, "Host") == 0)
        f->hosts++;
    else if (strcasecmp(key, "Expect") == 0)
        f->expects = true;
    return MHD_YES;
}

static enum api_code look_at_framing(struct req *r, struct framing *f)
{
    (void)MHD_get_connection_values_n(r->http, MHD_HEADER_KIND, on_header, f);
    r->close = true;
    if (f->bad || f->lengths > 1 || f->hosts > 1 || (f->codings > 0 && f->lengths > 0))
        return API_BAD_REQUEST;
    if (f->codings > 0)
        return API_LENGTH_REQUIRED;
    r->close = false;
    return API_FINE;
}

/* Agents are counted by their certificate, wherever they come from; everybody else by the address. */
static bool within_rate(struct req *r)
{
    struct api *a = r->api;
    int64_t now = sk_now_mono();
    if (r->conn->peer != PEER_AGENT)
        return limiter_take(&a->limiter, &r->conn->addr, false, a->o.address_rate, now);
    bool poll = r->route != NULL && r->route->run == run_feed;
    if (!agent_admit(a, r->conn->cert.agent, now, poll))
        return false;
    r->counted_held = !poll;
    return true;
}

static enum api_code certificate(struct req *r, bool late)
{
    const struct conn *k = r->conn;
    int64_t now = sk_now_wall();
    if (k->peer == PEER_NONE)
        return API_CERT_REQUIRED;
    if (k->peer == PEER_REFUSED)
        return API_CERT_REFUSED;
    if ((k->peer == PEER_EXPIRED && !late) || now > k->cert.not_after + (late ? API_LATE : 0))
        return API_CERT_EXPIRED;
    r->cert = k->cert;
    r->renew = k->cert.not_after - now < (k->cert.not_after - k->cert.not_before) / 3;
    return API_FINE;
}

/* Only the token's hash goes on. */
static enum api_code bearer(struct req *r)
{
    const char *h = MHD_lookup_connection_value(r->http, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (h == NULL || strncasecmp(h, "Bearer ", 7) != 0)
        return API_TOKEN_REQUIRED;
    h += 7;
    pki_hash_text(h, strlen(h), r->hash);
    return API_FINE;
}

static enum api_code authenticate(struct req *r)
{
    switch (r->route->auth) {
    case AUTH_AGENT: return certificate(r, false);
    case AUTH_AGENT_LATE: return certificate(r, true);
    case AUTH_OPERATOR:
    case AUTH_ADMIN: return bearer(r);
    case AUTH_NONE: break;
    }
    return API_FINE;
}

static bool is_json(const char *type)
{
    static const char want[] = "application/json";
    size_t n = sizeof(want) - 1;
    return type != NULL && strncasecmp(type, want, n) == 0 && (type[n] == '\0' || type[n] == ';' || type[n] == ' ');
}

static enum api_code look_at_body(struct req *r, const struct framing *f)
{
    if (f->length > (int64_t)r->route->body_max)
        return API_TOO_LARGE;
    const char *type = MHD_lookup_connection_value(r->http, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    if (r->route->body == BODY_JSON && !is_json(type))
        return API_TYPE;
    return API_FINE;
}

static enum api_code look_at_route(struct req *r, const char *url, const char *method)
{
    r->head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    r->route = route_find(r->head ? MHD_HTTP_METHOD_GET : method, url, r->arg, &r->allow);
    if (r->route != NULL)
        return API_FINE;
    return r->allow != NULL ? API_METHOD : API_NOT_FOUND;
}

static enum api_code look_at_head(struct req *r, const char *url, const char *method)
{
    struct framing f = {0};
    enum api_code c = look_at_framing(r, &f);
    if (c != API_FINE)
        return c;
    r->close = f.length > API_DISCARD_MAX || f.expects; /* when it is refused */
    if (api_flag(&r->api->stopping))
        return API_STOPPING;
    tls_look_at_peer(r->api, r->http, r->conn);
    c = look_at_route(r, url, method);
    if (!within_rate(r))
        return API_TOO_MANY;
    if (c == API_FINE)
        c = authenticate(r);
    return c != API_FINE ? c : look_at_body(r, &f);
}

/* --- the answer --- */

static void answer_options(struct req *r)
{
    answer_empty(r);
    if (r->answer != NULL)
        body_header(r->answer, MHD_HTTP_HEADER_ALLOW, r->allow);
}

static enum MHD_Result send_answer(struct req *r)
{
    if (r->answer == NULL)
        return MHD_NO;
    if (r->code == API_METHOD)
        body_header(r->answer, MHD_HTTP_HEADER_ALLOW, r->allow);
    if (r->close)
        body_header(r->answer, MHD_HTTP_HEADER_CONNECTION, "close");
    if (r->code != API_FINE)
        note_refusal(r->api, r);
    int64_t take = (API_TAKE_S + (int64_t)(r->answer->len / API_TAKE_RATE)) * SK_NS_PER_S;
    conn_deadline(r->api, r->conn, sk_now_mono() + take);
    return MHD_queue_response(r->http, r->status, r->answer->http);
}

static enum MHD_Result refuse(struct req *r, enum api_code c)
{
    if (c == API_METHOD && r->done)
        answer_options(r);
    else
        answer_code(r, c, r->detail);
    return send_answer(r);
}

static enum MHD_Result begin(struct api *a, struct MHD_Connection *c, const char *url, const char *method, void **state)
{
    struct req *r = (struct req *)calloc(1, sizeof(*r));
    struct conn *k = conn_of(c);
    *state = r;
    if (r == NULL || k == NULL)
        return MHD_NO;
    r->api = a;
    r->http = c;
    r->conn = k;
    r->since = sk_now_mono();
    k->handled = true;
    conn_deadline(a, k, r->since + API_BODY_S * SK_NS_PER_S);
    count_add(&a->counts.requests, 1);
    r->refused = look_at_head(r, url, method);
    r->done = r->refused == API_METHOD && strcmp(method, MHD_HTTP_METHOD_OPTIONS) == 0; /* not refused, but told */
    sk_strbuf_init(&r->text, r->route != NULL ? r->route->body_max : 0);
    if (r->refused != API_FINE && r->close)
        return refuse(r, r->refused);
    r->close = false;
    return MHD_YES;
}

/* --- body --- */

static enum MHD_Result take_body(struct req *r, const char *p, size_t *len)
{
    struct api *a = r->api;
    if (r->refused == API_FINE && a->bodies + *len > API_BODIES_MAX)
        r->refused = API_BUSY;
    if (r->refused == API_FINE) {
        sk_strbuf_add(&r->text, p, *len);
        r->counted += *len;
        a->bodies += *len;
        if (r->text.full)
            r->refused = API_TOO_LARGE;
    }
    *len = 0;
    return MHD_YES;
}

/* Behind it the text is gone: it may hold a token. */
static enum api_code understand(struct req *r)
{
    enum body_want want = r->route->body;
    enum api_code c = API_FINE;
    if (want == BODY_JSON) {
        r->json = parse_json(r->text.p != NULL ? r->text.p : "", r->text.len);
        c = r->json != NULL ? API_FINE : API_BAD_JSON;
    }
    if (r->text.p != NULL)
        OPENSSL_cleanse(r->text.p, r->text.len);
    sk_strbuf_free(&r->text);
    return c != API_FINE ? c : r->route->check(r);
}

/* Suspended first: the answer may be there before this returns. */
static enum MHD_Result hold(struct req *r)
{
    struct api *a = r->api;
    if (work_full(a))
        return refuse(r, API_BUSY);
    __atomic_fetch_add(&a->held, 1, __ATOMIC_ACQ_REL);
    conn_deadline(a, r->conn, INT64_MAX);
    MHD_suspend_connection(r->http);
    (void)!work_put(a, r);
    return MHD_YES;
}

static enum MHD_Result finish(struct req *r)
{
    if (r->answer != NULL)
        return send_answer(r);
    if (r->refused == API_FINE)
        r->refused = understand(r);
    if (r->refused != API_FINE)
        return refuse(r, r->refused);
    return r->route->run != NULL ? hold(r) : send_answer(r);
}

enum MHD_Result http_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                             const char *version, const char *upload, size_t *upload_size, void **state)
{
    struct req *r = (struct req *)*state;
    (void)version;
    if (r == NULL)
        return begin((struct api *)arg, c, url, method, state);
    if (*upload_size != 0)
        return take_body(r, upload, upload_size);
    return finish(r);
}

void http_resume(struct req *r)
{
    struct MHD_Connection *c = r->http;
    struct api *a = r->api;
    if (r->answer == NULL) /* no memory was left */
        answer_code(r, API_BUSY, "no memory");
    MHD_resume_connection(c);
    __atomic_fetch_sub(&a->held, 1, __ATOMIC_ACQ_REL);
}

void http_completed(void *arg, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why)
{
    struct api *a = (struct api *)arg;
    struct req *r = (struct req *)*state;
    (void)c, (void)why;
    if (r == NULL)
        return;
    a->bodies -= r->counted;
    if (r->counted_held)
        agent_leave(a, r->conn->cert.agent);
    if (r->conn != NULL) {
        int64_t idle = r->conn->peer == PEER_AGENT ? API_IDLE_S : API_HEAD_S;
        conn_deadline(a, r->conn, sk_now_mono() + idle * SK_NS_PER_S);
    }
    if (r->text.p != NULL)
        OPENSSL_cleanse(r->text.p, r->text.len);
    sk_strbuf_free(&r->text);
    json_decref(r->json);
    free(r->in.status);
    body_drop(r->answer);
    free(r);
    *state = NULL;
}

enum MHD_Result http_accept(void *arg, const struct sockaddr *sa, socklen_t len)
{
    struct api *a = (struct api *)arg;
    struct sk_addr from = {0};
    (void)len;
    if (sa->sa_family == AF_INET)
        from = sk_addr_from_v4(&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
    else if (sa->sa_family == AF_INET6)
        from = sk_addr_from_v6(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
    if (!api_flag(&a->stopping) && limiter_take(&a->limiter, &from, true, a->o.address_rate, sk_now_mono()))
        return MHD_YES;
    count_add(&a->counts.connections_refused, 1);
    return MHD_NO;
}
