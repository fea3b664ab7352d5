/*
 * One JSON object a line on standard input, one a line on standard output:
 *   {"do": "sign", "method", "host", "path", "query", "region", "service", "headers": [...], "body", "now": seconds,
 *    "access_key", "secret_key", "token"}
 *   {"do": "get" | "update" | "create" | "find", "scope", "region", "name", "id", "lock", "v6", "description",
 *    "addresses": [...]}
 *   {"do": "publish", "region", "form"}    SNS
 *   {"do": "creds"} | {"do": "region"}
 * Calls use the environment's credentials, and --endpoint and --imds where they are given.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "wafv2/wafv2.h"
#include "base/clock.h"
#include "base/log.h"
#include "fetch/fetch.h"

static struct aws *a;

static const char *text(json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL ? s : "";
}

static json_t *do_sign(json_t *o)
{
    struct aws_creds c = {0};
    struct aws_signature sig;
    const char *headers[32];
    json_t *list = json_object_get(o, "headers"), *body = json_object_get(o, "body");
    struct aws_sign s = {.headers = headers, .n = (unsigned)json_array_size(list)};
    for (unsigned i = 0; i < s.n && i < 32; i++)
        headers[i] = json_string_value(json_array_get(list, i));
    snprintf(c.access_key, sizeof c.access_key, "%s", text(o, "access_key"));
    snprintf(c.secret_key, sizeof c.secret_key, "%s", text(o, "secret_key"));
    snprintf(c.token, sizeof c.token, "%s", text(o, "token"));
    s.method = text(o, "method");
    s.host = text(o, "host");
    s.path = text(o, "path");
    s.query = text(o, "query");
    s.region = text(o, "region");
    s.service = text(o, "service");
    s.body = json_string_value(body);
    s.body_len = json_string_length(body);
    s.now = json_integer_value(json_object_get(o, "now")) * SK_NS_PER_S;
    int rc = aws_sign(&c, &s, &sig);
    return json_pack("{s:i,s:s,s:s}", "rc", rc, "date", rc ? "" : sig.date, "authorization",
                     rc ? "" : sig.authorization);
}

static void fill_set(json_t *o, struct wafv2_set *s)
{
    *s = (struct wafv2_set){.v6 = json_is_true(json_object_get(o, "v6"))};
    s->scope = strcmp(text(o, "scope"), "CLOUDFRONT") == 0 ? WAFV2_CLOUDFRONT : WAFV2_REGIONAL;
    snprintf(s->region, sizeof s->region, "%s", text(o, "region"));
    snprintf(s->name, sizeof s->name, "%s", text(o, "name"));
    snprintf(s->id, sizeof s->id, "%s", text(o, "id"));
    snprintf(s->lock_token, sizeof s->lock_token, "%s", text(o, "lock"));
    snprintf(s->description, sizeof s->description, "%s", text(o, "description"));
}

static json_t *show_answer(int rc, const struct aws_answer *e)
{
    return json_pack("{s:i,s:s,s:i,s:s,s:s,s:I}", "rc", rc, "error", aws_error_name(e->error), "status", e->status,
                     "code", e->code, "message", e->message, "retry_after", (json_int_t)e->retry_after);
}

static json_t *show_set(const struct wafv2_set *s, json_t *out)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n; i++) {
        char buf[SK_PREFIX_STRLEN];
        json_array_append_new(list, json_string(sk_prefix_format(&s->addr[i], buf)));
    }
    json_object_set_new(out, "addresses", list);
    json_object_set_new(out, "id", json_string(s->id));
    json_object_set_new(out, "arn", json_string(s->arn));
    json_object_set_new(out, "lock", json_string(s->lock_token));
    json_object_set_new(out, "description", json_string(s->description));
    json_object_set_new(out, "v6", json_boolean(s->v6));
    return out;
}

static int update(json_t *o, struct wafv2_set *s, struct aws_answer *e)
{
    json_t *list = json_object_get(o, "addresses");
    size_t n = json_array_size(list);
    struct sk_prefix *p = (struct sk_prefix *)calloc(n + 1, sizeof *p);
    int rc = p == NULL ? SK_ENOMEM : SK_OK;
    for (size_t i = 0; i < n && rc == SK_OK; i++) {
        const char *t = json_string_value(json_array_get(list, i));
        rc = sk_prefix_parse(t, strlen(t), true, &p[i]);
    }
    if (rc == SK_OK)
        rc = wafv2_aws_ops.update(a, s, p, n, e);
    free(p);
    return rc;
}

static json_t *do_set(json_t *o, const char *what)
{
    struct wafv2_set s;
    struct aws_answer e = {0};
    int rc;
    fill_set(o, &s);
    if (strcmp(what, "get") == 0)
        rc = wafv2_aws_ops.get(a, &s, &e);
    else if (strcmp(what, "update") == 0)
        rc = update(o, &s, &e);
    else if (strcmp(what, "create") == 0)
        rc = wafv2_aws_ops.create(a, &s, &e);
    else
        rc = wafv2_aws_ops.find(a, &s, &e);
    json_t *out = show_set(&s, show_answer(rc, &e));
    wafv2_set_clear(&s);
    aws_answer_free(&e);
    return out;
}

static json_t *do_publish(json_t *o)
{
    struct aws_answer e;
    int rc = aws_query(a, "sns", text(o, "region"), text(o, "form"), &e);
    json_t *out = show_answer(rc, &e);
    aws_answer_free(&e);
    return out;
}

static json_t *do_creds(void)
{
    struct aws_creds c;
    char why[256];
    int rc = aws_creds_get(a, sk_now_wall(), &c, why, sizeof why);
    return json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:I}", "rc", rc, "why", why, "access_key", c.access_key, "secret_key",
                     c.secret_key, "token", c.token, "source", c.source, "expires",
                     (json_int_t)(c.expires / SK_NS_PER_S));
}

static json_t *do_region(void)
{
    char buf[32] = "";
    int rc = aws_region(a, buf);
    return json_pack("{s:i,s:s}", "rc", rc, "region", buf);
}

static json_t *answer(json_t *o)
{
    const char *what = text(o, "do");
    if (strcmp(what, "sign") == 0)
        return do_sign(o);
    if (strcmp(what, "publish") == 0)
        return do_publish(o);
    if (strcmp(what, "creds") == 0)
        return do_creds();
    if (strcmp(what, "region") == 0)
        return do_region();
    return do_set(o, what);
}

int main(int argc, char **argv)
{
    struct aws_options opt = {.timeout_ms = 3000};
    sk_log_setup("aws_probe", SK_LOG_INFO, 0);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--endpoint") == 0)
            opt.endpoint = argv[i + 1];
        else if (strcmp(argv[i], "--imds") == 0)
            opt.imds = argv[i + 1];
    }
    if (aws_open(&opt, &a) != SK_OK)
        return 2;
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        json_t *o = json_loads(line, 0, NULL), *out = o != NULL ? answer(o) : NULL;
        if (out != NULL)
            json_dumpf(out, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(o);
    }
    free(line);
    aws_close(a);
    fetch_thread_end();
    return 0;
}
