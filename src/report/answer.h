/*
 * What the manager answers, checked: one function for each kind of answer. Plain functions of bytes; nothing is
 * believed of a field that has not the form that docs/manager-api.yaml gives it. Unknown fields are ignored.
 */
#ifndef REPORT_ANSWER_H
#define REPORT_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include "ipc/message.h"

#define ANSWER_EPOCH_LEN 40
#define ANSWER_CODE_LEN  40

/* "code" of an error; "" when there is none. buf of ANSWER_CODE_LEN. */
void answer_error(const char *body, size_t len, char *buf);

struct answer_batch {
    int64_t seq, refused;
    bool duplicate;
};
/* SK_EPROTO, as of all of these. */
SK_MUST_USE int answer_batch(const char *body, size_t len, struct answer_batch *out);
SK_MUST_USE int answer_gap(const char *body, size_t len, int64_t *next);

/* What heartbeat and feed have in common. heartbeat_s and time_ms: 0 in a feed. */
struct answer_news {
    int64_t rules_version, policy_version, heartbeat_s, time_ms;
    bool renew;
};
SK_MUST_USE int answer_beat(const char *body, size_t len, struct answer_news *out);

struct answer_feed {
    json_t *root, *entries; /* the array */
    char epoch[ANSWER_EPOCH_LEN];
    int64_t seq;
    bool reset, more;
    struct answer_news news;
};
/* answer_feed_free it when SK_OK. */
SK_MUST_USE int answer_feed(const char *body, size_t len, struct answer_feed *out);
void answer_feed_free(struct answer_feed *f); /* zeroed is fine */
/* Entry i as a message. SK_EEXIST: a block of `own`, this agent. SK_EPROTO: malformed; go on with the next. */
SK_MUST_USE int answer_feed_entry(const struct answer_feed *f, size_t i, const char *own, struct ipc_fleet *out);

/* root owns the payload's bytes: json_decref it. kind: enum bundle_kind; name as in "kind". */
SK_MUST_USE int answer_bundle(const char *body, size_t len, uint32_t kind, const char *name, struct ipc_signed *out,
                              json_t **root, const char **payload, size_t *payload_len);
SK_MUST_USE int answer_found(const char *body, size_t len, struct ipc_found *out);

/* Of enrolment (agent and keys) and renewal. Views into root. */
struct answer_cert {
    json_t *root, *keys; /* array of strings of 44 characters (base64 of 32 bytes); NULL: none were given */
    const char *agent, *certificate, *ca;
    int64_t heartbeat_s;
};
SK_MUST_USE int answer_cert(const char *body, size_t len, bool enrolment, struct answer_cert *out);
void answer_cert_free(struct answer_cert *a);

#endif
