/* What an AWS service says when it does not do what it was asked: JSON, or the XML of the query services. */
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "aws_priv.h"
#include "base/clock.h"
#include "base/escape.h"
#include "base/strbuf.h"

#define SKEW_LIMIT (4 * 60 * SK_NS_PER_S) /* AWS refuses at five minutes */
#define DETAIL_MAX 400

static const struct {
    const char *code;
    enum aws_error error;
} codes[] = {
    /* botocore: retries/standard.py, ThrottledRetryableChecker */
    {"Throttling", AWS_THROTTLED},
    {"ThrottlingException", AWS_THROTTLED},
    {"ThrottledException", AWS_THROTTLED},
    {"RequestThrottledException", AWS_THROTTLED},
    {"TooManyRequestsException", AWS_THROTTLED},
    {"ProvisionedThroughputExceededException", AWS_THROTTLED},
    {"TransactionInProgressException", AWS_THROTTLED},
    {"RequestLimitExceeded", AWS_THROTTLED},
    {"BandwidthLimitExceeded", AWS_THROTTLED},
    {"LimitExceededException", AWS_THROTTLED},
    {"RequestThrottled", AWS_THROTTLED},
    {"SlowDown", AWS_THROTTLED},
    {"PriorRequestNotComplete", AWS_THROTTLED},
    {"EC2ThrottledException", AWS_THROTTLED},
    {"RequestTimeout", AWS_RETRY},
    {"RequestTimeoutException", AWS_RETRY},
    {"InternalError", AWS_RETRY},
    {"InternalFailure", AWS_RETRY},
    {"InternalServerError", AWS_RETRY},
    {"InternalServiceError", AWS_RETRY},
    {"InternalServiceErrorException", AWS_RETRY},
    {"ServiceUnavailable", AWS_RETRY},
    {"WAFInternalErrorException", AWS_RETRY},
    {"AccessDenied", AWS_AUTH},
    {"AccessDeniedException", AWS_AUTH},
    {"AuthFailure", AWS_AUTH},
    {"AuthorizationError", AWS_AUTH},
    {"DecryptionFailure", AWS_AUTH},
    {"ExpiredToken", AWS_AUTH},
    {"ExpiredTokenException", AWS_AUTH},
    {"IncompleteSignature", AWS_AUTH},
    {"IncompleteSignatureException", AWS_AUTH},
    {"InvalidAccessKeyId", AWS_AUTH},
    {"InvalidClientTokenId", AWS_AUTH},
    {"InvalidSignatureException", AWS_AUTH},
    {"InvalidToken", AWS_AUTH},
    {"MissingAuthenticationToken", AWS_AUTH},
    {"MissingAuthenticationTokenException", AWS_AUTH},
    {"NotAuthorized", AWS_AUTH},
    {"OptInRequired", AWS_AUTH},
    {"RequestExpired", AWS_AUTH},
    {"RequestInTheFuture", AWS_AUTH},
    {"RequestTimeTooSkewed", AWS_AUTH},
    {"SignatureDoesNotMatch", AWS_AUTH},
    {"UnauthorizedOperation", AWS_AUTH},
    {"UnrecognizedClientException", AWS_AUTH},
    {"WAFOptimisticLockException", AWS_LOCKED},
    {"WAFLimitsExceededException", AWS_LIMIT},
    {"WAFDuplicateItemException", AWS_EXISTS},
    {"WAFNonexistentItemException", AWS_MISSING},
    {"NotFound", AWS_MISSING},
    {"NotFoundException", AWS_MISSING},
    {"ParameterNotFound", AWS_MISSING},
    {"ParameterVersionNotFound", AWS_MISSING},
    {"ResourceNotFoundException", AWS_MISSING},
    {"WAFInvalidParameterException", AWS_INVALID},
    {"InvalidParameter", AWS_INVALID},
    {"InvalidParameterCombination", AWS_INVALID},
    {"InvalidParameterException", AWS_INVALID},
    {"InvalidParameterValue", AWS_INVALID},
    {"MissingParameter", AWS_INVALID},
    {"SerializationException", AWS_INVALID},
    {"ValidationError", AWS_INVALID},
    {"ValidationException", AWS_INVALID},
    {"WAFUnavailableEntityException", AWS_UNAVAILABLE},
};

const char *aws_error_name(enum aws_error e)
{
    static const char *const names[] = {
        [AWS_OK] = "ok",           [AWS_THROTTLED] = "throttled",     [AWS_RETRY] = "retry",
        [AWS_AUTH] = "auth",       [AWS_SKEW] = "clock skew",         [AWS_LOCKED] = "locked",
        [AWS_LIMIT] = "limit",     [AWS_EXISTS] = "exists",           [AWS_MISSING] = "missing",
        [AWS_INVALID] = "invalid", [AWS_UNAVAILABLE] = "unavailable", [AWS_OTHER] = "other",
    };
    return (unsigned)e < sizeof names / sizeof *names ? names[e] : "?";
}

static enum aws_error by_status(int status)
{
    switch (status) {
    case 401:
    case 403: return AWS_AUTH;
    case 404: return AWS_MISSING;
    case 408: return AWS_RETRY;
    case 429: return AWS_THROTTLED;
    default: return status >= 500 ? AWS_RETRY : AWS_OTHER;
    }
}

static enum aws_error classify(const char *code, int status)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(codes[i].code, code) == 0)
            return codes[i].error;
    return by_status(status);
}

/* "com.amazonaws.wafv2#WAFOptimisticLockException", "Code:http://...": the bare code, of harmless characters. */
static void set_code(struct aws_answer *out, const char *s)
{
    const char *hash = strchr(s, '#');
    if (hash != NULL)
        s = hash + 1;
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    snprintf(out->code, sizeof out->code, "%.*s", (int)(n < sizeof out->code ? n : sizeof out->code - 1), s);
}

static void set_message(struct aws_answer *out, const char *p, size_t len)
{
    sk_escape(out->message, sizeof out->message, sk_span_of(p, (uint32_t)len));
}

static const char *first_string(json_t *o, const char *const *names, size_t *len)
{
    for (; *names != NULL; names++) {
        json_t *v = json_object_get(o, *names);
        if (json_is_string(v)) {
            *len = json_string_length(v);
            return json_string_value(v);
        }
    }
    return NULL;
}

/* WAFInvalidParameterException says in three further fields what it does not like. */
static void add_details(json_t *o, struct sk_strbuf *b)
{
    static const char *const fields[] = {"Field", "Parameter", "Reason"};
    for (int i = 0; i < 3; i++) {
        const char *s = json_string_value(json_object_get(o, fields[i]));
        if (s != NULL)
            sk_strbuf_printf(b, "%s%s: %.*s", b->len > 0 ? ", " : "", fields[i], DETAIL_MAX / 4, s);
    }
}

static void read_json(struct aws_answer *out, struct sk_span body)
{
    static const char *const types[] = {"__type", "code", "Code", NULL};
    static const char *const messages[] = {"message", "Message", "errorMessage", NULL};
    size_t len;
    json_t *o = json_loadb((const char *)body.p, body.len, JSON_ALLOW_NUL, NULL);
    const char *type = first_string(o, types, &len);
    if (type != NULL)
        set_code(out, type);
    struct sk_strbuf b;
    sk_strbuf_init(&b, 4 * DETAIL_MAX);
    const char *m = first_string(o, messages, &len);
    if (m != NULL)
        sk_strbuf_add(&b, m, len < DETAIL_MAX ? len : DETAIL_MAX);
    add_details(o, &b);
    if (b.len > 0)
        set_message(out, b.p, b.len);
    sk_strbuf_free(&b);
    json_decref(o);
}

struct sk_span answer_xml_text(struct sk_span body, const char *name)
{
    char open[32], shut[32];
    int no = snprintf(open, sizeof open, "<%s>", name), ns = snprintf(shut, sizeof shut, "</%s>", name);
    const uint8_t *p = (const uint8_t *)memmem(body.p, body.len, open, (size_t)no);
    if (p == NULL)
        return (struct sk_span){0};
    p += no;
    const uint8_t *end = (const uint8_t *)memmem(p, (size_t)(body.p + body.len - p), shut, (size_t)ns);
    return sk_span_of(p, end != NULL ? (uint32_t)(end - p) : 0);
}

static void read_xml(struct aws_answer *out, struct sk_span body)
{
    struct sk_span code = answer_xml_text(body, "Code"), message = answer_xml_text(body, "Message");
    if (code.len > 0 && code.len < sizeof out->code) {
        char text[sizeof out->code];
        memcpy(text, code.p, code.len);
        text[code.len] = '\0';
        set_code(out, text);
    }
    if (message.len > 0)
        set_message(out, (const char *)message.p, message.len);
}

void answer_read_error(struct aws_answer *out, const char *error_type, struct sk_span body)
{
    out->code[0] = out->message[0] = '\0';
    struct sk_span t = sk_span_trim(body);
    if (t.len > 0 && t.p[0] == '<')
        read_xml(out, t); /* whatever was asked for: a proxy or a signature check may answer before the service */
    else if (t.len > 0)
        read_json(out, t);
    if (out->code[0] == '\0')
        set_code(out, error_type);
    out->error = classify(out->code, out->status);
    if (out->message[0] == '\0')
        snprintf(out->message, sizeof out->message, "HTTP status %d", out->status);
}

bool answer_blames_clock(const struct aws_answer *r, int64_t date, int64_t now)
{
    static const char *const suspect[] = {"RequestTimeTooSkewed", "RequestExpired",        "RequestInTheFuture",
                                          "AuthFailure",          "SignatureDoesNotMatch", "InvalidSignatureException"};
    if (date == 0 || (date - now < SKEW_LIMIT && now - date < SKEW_LIMIT))
        return false;
    for (size_t i = 0; i < sizeof suspect / sizeof *suspect; i++)
        if (strcmp(r->code, suspect[i]) == 0)
            return true;
    return false;
}

void aws_answer_free(struct aws_answer *r)
{
    if (r->body != NULL)
        OPENSSL_cleanse(r->body, r->body_len);
    free(r->body);
    r->body = NULL;
    r->body_len = 0;
}
