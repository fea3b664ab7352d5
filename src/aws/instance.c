#include "aws/instance.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "aws_priv.h"
#include "base/strbuf.h"

#define REQUEST_MAX 4096
#define HEX_DIGITS  "0123456789abcdef"

/* ---- metadata ---- */

int aws_imds(struct aws *a, const char *path, char **out, char *why, size_t cap)
{
    struct fetch_response r;
    *out = NULL;
    int rc = imds_get(a, path, &r, why, cap);
    if (rc == SK_OK) {
        *out = r.body;
        r.body = NULL;
    }
    fetch_response_free(&r);
    return rc;
}

const char *aws_imds_url(const struct aws *a)
{
    return a->imds;
}

int aws_imds_instance(struct aws *a, char *buf, char *why, size_t cap)
{
    char *text;
    int rc = aws_imds(a, "/latest/meta-data/instance-id", &text, why, cap);
    if (rc != SK_OK)
        return rc;
    size_t n = strlen(text);
    if (n < 3 || n >= AWS_INSTANCE_LEN || strncmp(text, "i-", 2) != 0 || strspn(text + 2, HEX_DIGITS) != n - 2) {
        snprintf(why, cap, "instance metadata: the instance's ID makes no sense");
        rc = SK_EPROTO;
    } else {
        memcpy(buf, text, n + 1);
    }
    free(text);
    return rc;
}

/* ---- parameters and secrets ---- */

bool aws_arn_region(const char *arn, char *buf)
{
    if (strncmp(arn, "arn:", 4) != 0)
        return false;
    const char *p = arn; /* arn:PARTITION:SERVICE:REGION:... */
    for (int i = 0; i < 3 && p != NULL; i++) {
        p = strchr(p, ':');
        p += p != NULL;
    }
    size_t n = p != NULL ? strcspn(p, ":") : 0;
    if (n == 0 || n > 31)
        return false;
    memcpy(buf, p, n);
    buf[n] = '\0';
    return true;
}

static int refuse(struct aws_answer *e, const char *what)
{
    e->error = AWS_INVALID;
    snprintf(e->message, sizeof e->message, "%s", what);
    return SK_EIO;
}

static int take_value(const char *value, char *buf, size_t cap, struct aws_answer *e)
{
    static const char space[] = " \t\r\n";
    const char *s = value != NULL ? value + strspn(value, space) : "";
    size_t n = strlen(s);
    while (n > 0 && strchr(space, s[n - 1]) != NULL)
        n--;
    if (n == 0)
        return refuse(e, "there is no text in it");
    if (n >= cap)
        return refuse(e, "it is too long");
    memcpy(buf, s, n);
    buf[n] = '\0';
    return SK_OK;
}

static int read_kept(enum aws_kept kind, char *buf, size_t cap, struct aws_answer *e)
{
    json_t *o = json_loadb(e->body, e->body_len, 0, NULL);
    json_t *v = kind == AWS_PARAMETER ? json_object_get(json_object_get(o, "Parameter"), "Value")
                                      : json_object_get(o, "SecretString");
    int rc = o != NULL ? take_value(json_string_value(v), buf, cap, e) : refuse(e, "the answer makes no sense");
    if (json_is_string(v)) /* the library's copy: a secret */
        OPENSSL_cleanse((void *)json_string_value(v), json_string_length(v));
    json_decref(o);
    return rc;
}

int aws_kept_get(struct aws *a, const char *region, enum aws_kept kind, const char *name, char *buf, size_t cap,
                 struct aws_answer *e)
{
    bool parameter = kind == AWS_PARAMETER;
    json_t *q =
        parameter ? json_pack("{s:s,s:b}", "Name", name, "WithDecryption", 1) : json_pack("{s:s}", "SecretId", name);
    char *body = q != NULL ? json_dumps(q, JSON_COMPACT) : NULL;
    json_decref(q);
    *e = (struct aws_answer){.error = AWS_OK, .retry_after = -1};
    if (body == NULL)
        return refuse(e, "such a name cannot be asked for");
    int rc = aws_json(a, parameter ? "ssm" : "secretsmanager", region,
                      parameter ? "AmazonSSM.GetParameter" : "secretsmanager.GetSecretValue", body, strlen(body), e);
    free(body);
    return rc == SK_OK ? read_kept(kind, buf, cap, e) : rc;
}

/* ---- Auto Scaling ---- */

static void add_field(struct sk_strbuf *b, const char *name, const char *value)
{
    char text[3 * AWS_GROUP_LEN];
    if (aws_form_encode(value, text, sizeof text) != SK_OK)
        b->full = true;
    else
        sk_strbuf_printf(b, "&%s=%s", name, text);
}

static int ask_group(struct aws *a, const char *region, struct sk_strbuf *b, struct aws_answer *e)
{
    *e = (struct aws_answer){.error = AWS_OK, .retry_after = -1};
    int rc = b->full ? refuse(e, "such a name cannot be asked for") : aws_query(a, "autoscaling", region, b->p, e);
    sk_strbuf_free(b);
    return rc;
}

int aws_group_find(struct aws *a, const char *region, const char *instance, char *buf, struct aws_answer *e)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, REQUEST_MAX);
    sk_strbuf_puts(&b, "Action=DescribeAutoScalingInstances&Version=2011-01-01");
    add_field(&b, "InstanceIds.member.1", instance);
    int rc = ask_group(a, region, &b, e);
    if (rc != SK_OK)
        return rc;
    struct sk_span name = answer_xml_text(sk_span_of(e->body, (uint32_t)e->body_len), "AutoScalingGroupName");
    if (name.len == 0 || name.len >= AWS_GROUP_LEN || memchr(name.p, '&', name.len) != NULL) {
        refuse(e, "the instance is in no Auto Scaling group");
        e->error = AWS_MISSING;
        return SK_EIO;
    }
    memcpy(buf, name.p, name.len);
    buf[name.len] = '\0';
    return SK_OK;
}

int aws_lifecycle_complete(struct aws *a, const char *region, const char *group, const char *hook, const char *instance,
                           struct aws_answer *e)
{
    struct sk_strbuf b;
    sk_strbuf_init(&b, REQUEST_MAX);
    sk_strbuf_puts(&b, "Action=CompleteLifecycleAction&Version=2011-01-01&LifecycleActionResult=CONTINUE");
    add_field(&b, "AutoScalingGroupName", group);
    add_field(&b, "LifecycleHookName", hook);
    add_field(&b, "InstanceId", instance);
    return ask_group(a, region, &b, e);
}
