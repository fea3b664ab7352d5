/* SNS: Publish by the query protocol, one message an item. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/strbuf.h"
#include "output_priv.h"

#define FORM_MAX    (1u << 20)
#define MESSAGE_MAX (256u * 1024) /* SNS's own limit */

int sns_region(const char *arn, char buf[32])
{
    const char *p = arn;
    for (int i = 0; i < 3 && p != NULL; i++)
        p = (p = strchr(p, ':')) != NULL ? p + 1 : NULL;
    size_t len = p != NULL ? strcspn(p, ":") : 0;
    if (strncmp(arn, "arn:", 4) != 0 || strstr(arn, ":sns:") == NULL || len == 0 || len >= 32 || p[len] != ':' ||
        strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
        return SK_EINVAL;
    memcpy(buf, p, len);
    buf[len] = '\0';
    return SK_OK;
}

static const char *reason_of(const json_t *item)
{
    const json_t *alert = json_object_get(json_object_get(item, "event"), "alert");
    const char *s = json_string_value(json_object_get(item, "reason"));
    if (s == NULL)
        s = json_string_value(json_object_get(alert, "signature"));
    return s != NULL ? s : "flood";
}

/* What stands in it may have been chosen by an attacker, and by who writes rules. */
void sns_subject(const struct parcel *p, char buf[100])
{
    const char *type = json_string_value(json_object_get(p->item, "type"));
    snprintf(buf, 100, "Sekisho %s on %.32s: %.48s", type != NULL && strcmp(type, "block") == 0 ? "block" : "alert",
             p->agent.host[0] != '\0' ? p->agent.host : "the manager", reason_of(p->item));
    for (char *s = buf; *s != '\0'; s++)
        if ((unsigned char)*s < ' ' || (unsigned char)*s > '~')
            *s = '?';
}

static int add_field(struct sk_strbuf *b, const char *name, const char *value)
{
    size_t cap = 3 * strlen(value) + 1;
    char *enc = (char *)malloc(cap);
    int rc = enc == NULL ? SK_ENOMEM : aws_form_encode(value, enc, cap);
    if (rc == SK_OK)
        sk_strbuf_printf(b, "&%s=", name);
    if (rc == SK_OK)
        sk_strbuf_puts(b, enc);
    free(enc);
    return rc;
}

/* Of a FIFO topic the order within a host is kept, and what comes twice within five minutes is one. */
static int add_fifo(struct sk_strbuf *b, const struct output_sink *sink, const struct parcel *p)
{
    char text[128];
    size_t len = strlen(sink->topic_arn);
    if (len < 5 || strcmp(sink->topic_arn + len - 5, ".fifo") != 0)
        return SK_OK;
    int rc = add_field(b, "MessageGroupId", p->agent.id[0] != '\0' ? p->agent.id : "manager");
    snprintf(text, sizeof(text), "%s-%lld-%lld", sink->name, (long long)p->id, (long long)p->created);
    return rc == SK_OK ? add_field(b, "MessageDeduplicationId", text) : rc;
}

static int make_form(struct sk_strbuf *b, const struct output_sink *sink, const struct parcel *p, const char *message)
{
    char subject[100];
    sns_subject(p, subject);
    sk_strbuf_puts(b, "Action=Publish&Version=2010-03-31");
    int rc = add_field(b, "TopicArn", sink->topic_arn);
    if (rc == SK_OK)
        rc = add_field(b, "Subject", subject);
    if (rc == SK_OK)
        rc = add_field(b, "Message", message);
    if (rc == SK_OK)
        rc = add_fifo(b, sink, p);
    return rc == SK_OK && b->full ? SK_EFULL : rc;
}

/* Credentials can be mended, and so can the clock: only what is wrong with the call itself is a refusal. */
static enum try_result result_of(enum aws_error e)
{
    switch (e) {
    case AWS_OK: return TRY_SENT;
    case AWS_MISSING:
    case AWS_INVALID:
    case AWS_OTHER: return TRY_REFUSED;
    default: return TRY_AGAIN;
    }
}

static void publish(struct aws *aws, const struct output_sink *sink, const char *form, struct tried *out)
{
    char region[32];
    struct aws_answer a = {.retry_after = -1};
    if (sns_region(sink->topic_arn, region) != SK_OK) {
        snprintf(out->why, sizeof(out->why), "the topic's ARN has no region");
        out->result = TRY_REFUSED;
        return;
    }
    (void)(aws_query(aws, "sns", region, form, &a) == SK_OK); /* a.error says it all */
    out->result = result_of(a.error);
    out->after = a.retry_after;
    if (out->result != TRY_SENT)
        snprintf(out->why, sizeof(out->why), "SNS: %.90s: %.130s", a.code[0] != '\0' ? a.code : aws_error_name(a.error),
                 a.message);
    aws_answer_free(&a);
}

void sns_try(struct aws *aws, const struct output_sink *sink, const struct parcel *p, struct tried *out)
{
    struct sk_strbuf form;
    json_t *event = deep_security_event(&p->agent, p->item, p->id), *list = json_pack("[o]", event);
    char *message = list != NULL ? json_dumps(list, JSON_COMPACT) : NULL;
    *out = (struct tried){.result = TRY_REFUSED, .after = -1};
    sk_strbuf_init(&form, FORM_MAX);
    int rc = message == NULL ? SK_EINVAL : strlen(message) > MESSAGE_MAX ? SK_EFULL : SK_OK;
    if (rc == SK_OK)
        rc = make_form(&form, sink, p, message);
    if (rc == SK_OK)
        publish(aws, sink, form.p, out);
    else
        snprintf(out->why, sizeof(out->why), "no message can be made of it: %s", sk_strerror(rc));
    sk_strbuf_free(&form);
    free(message);
    json_decref(list);
}
