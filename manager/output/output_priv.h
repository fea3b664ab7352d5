/* What the files of this module share: one try of each kind of sink, and how it ended. */
#ifndef OUTPUT_PRIV_H
#define OUTPUT_PRIV_H

#include <jansson.h>
#include "fetch/fetch.h"
#include "output/output.h"

#define OUTPUT_WHY_MAX    256
#define OUTPUT_SECRET_MAX 512

enum try_result {
    TRY_SENT,
    TRY_AGAIN,   /* not now */
    TRY_REFUSED, /* not like that */
};

struct tried {
    enum try_result result;
    int64_t after;            /* seconds that the receiver asks for; -1 */
    char why[OUTPUT_WHY_MAX]; /* not sent: escaped text without secrets */
};

/* One item on its way. */
struct parcel {
    int64_t id, created;
    int attempts;
    const char *sink, *payload; /* as output_take made it */
    struct store_agent agent;   /* as the store knows it now; else only the ID */
    json_t *item;
};

void sns_try(struct aws *aws, const struct output_sink *sink, const struct parcel *p, struct tried *out);
/* Subject of a message: printable ASCII, fewer than 100 characters. */
void sns_subject(const struct parcel *p, char buf[100]);
/* The region in an ARN of SNS. SK_EINVAL. */
int sns_region(const char *arn, char buf[32]);

struct webhook {
    struct fetch_tls tls;
    uint8_t secret[OUTPUT_SECRET_MAX];
    size_t secret_len; /* 0: not signed */
};
/* Reads the secret. */
int webhook_open(const struct output_sink *sink, struct webhook *w, char *why, size_t cap);
void webhook_try(const struct webhook *w, const struct output_sink *sink, const struct parcel *p, int64_t now,
                 struct tried *out);
/* "t=SECONDS,v1=" and 64 hex digits: HMAC-SHA256 of "SECONDS." and the body. */
int webhook_sign(const struct webhook *w, int64_t seconds, const char *body, size_t len, char buf[128]);
bool webhook_url_allowed(const char *url);

/* The item of a payload and its agent's ID; the item is the caller's. */
int payload_open(const char *payload, char agent[STORE_AGENT_LEN], json_t **item);
json_t *deep_security_event(const struct store_agent *a, const json_t *item, int64_t id);

#endif
