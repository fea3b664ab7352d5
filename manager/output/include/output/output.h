/*
 * What the manager tells others: SNS in Deep Security's JSON, so that Lambdas written for it go on working, and a
 * generic webhook (docs/outputs.md has both formats). What is to be sent is written into the store in the transaction
 * that took the event, and sent from there by one thread a sink: nothing is lost by a restart; at least once; in the
 * order in which it was taken, of which what was given up is missing. Off unless configured; each has a dry run that
 * logs and sends nothing.
 *
 *   API:   output_take, inside its transaction           main:  output_start → output_lead* → output_stop
 *
 * A try that fails is repeated with backoff, and nothing behind it is sent meanwhile. It is given up, counted and
 * written into the audit record: after OUTPUT_TRIES tries when the receiver refuses it (4xx), after OUTPUT_AGE_MAX when
 * the receiver cannot be reached or fails; and the oldest ones when more than OUTPUT_QUEUE_MAX wait.
 */
#ifndef OUTPUT_OUTPUT_H
#define OUTPUT_OUTPUT_H

#include "aws/aws.h"
#include "store/store.h"

#define OUTPUT_TRIES      5
#define OUTPUT_AGE_MAX    (INT64_C(3) * 86400 * 1000) /* ms; the store forgets after seven days, and silently */
#define OUTPUT_QUEUE_MAX  100000                      /* of all sinks together */
#define OUTPUT_SINKS_MAX  32
#define OUTPUT_TIMEOUT_MS 10000 /* of one try */

enum output_kind { OUTPUT_SNS, OUTPUT_WEBHOOK };

struct output_sink {
    char name[64];
    enum output_kind kind;
    char topic_arn[256];   /* SNS; its region is in it */
    char url[512];         /* webhook: https, or http to this host itself */
    char secret_file[256]; /* webhook: HMAC-SHA256 key (mode 0600); "" none. X-Sekisho-Signature: t=SECONDS,v1=HEX */
    char ca_file[256];     /* webhook; "" the system's */
    bool blocks, events;   /* what is sent: new blocks and (webhook) their ends; alerts and floods */
    bool dry_run;
};

/* In the API's store thread, inside the transaction: item as it came in /v1/events; agent "": the manager's own. What
 * fails, fails the transaction. */
void output_take(struct store *s, const struct output_sink *sinks, unsigned n, const char *agent, const char *item_json,
                 int64_t now_ms);

/* Would output_start take them? As it does, but starts nothing. */
SK_MUST_USE int output_check(const struct output_sink *sinks, unsigned n, char *why, size_t cap);

struct output;
/* Starts the sending threads; each opens its own store. sinks are copied; aws (NULL: there is no SNS sink) must outlive
 * it. SK_EINVAL, SK_EPERM: a sink that makes no sense, or whose secret others may read; why: text of cap bytes. */
SK_MUST_USE int output_start(const char *store, struct aws *aws, const struct output_sink *sinks, unsigned n,
                             struct output **out, char *why, size_t cap);
/* Of several managers on one database only the one that leads sends. It does from the start until this says no. */
void output_lead(struct output *o, bool leads);
/* Waits for tries under way, OUTPUT_TIMEOUT_MS at most. NULL is fine. */
void output_stop(struct output *o);
/* Counters as JSON, the caller's (free): {"sinks":[{"name","type","dry_run","sent","failed","given_up","dropped",
 * "last_sent_ms","last_error"}]}. Any thread. NULL: memory. */
char *output_status(struct output *o);

/* Deep Security's event object for an item, as the one-element array that SNS messages carry. id: its EventID. The
 * caller's (free). SK_EINVAL: an item that has no such form. */
SK_MUST_USE int output_deep_security(const struct store_agent *agent, const char *item_json, int64_t id, char **out);

#endif
