/*
 * What the manager tells others: SNS in Deep Security's JSON, so that Lambdas written for it go on working, and a
 * generic webhook. What is to be sent is written into the store in the transaction that took the event (store_out_add),
 * and sent from there by a thread of its own with backoff: nothing is lost by a restart; at least once.
 * Off unless configured; each has a dry run that logs and sends nothing.
 */
#ifndef OUTPUT_OUTPUT_H
#define OUTPUT_OUTPUT_H

#include "aws/aws.h"
#include "store/store.h"

enum output_kind { OUTPUT_SNS, OUTPUT_WEBHOOK };

struct output_sink {
    char name[64];
    enum output_kind kind;
    char topic_arn[256];   /* SNS; its region is in it */
    char url[512];         /* webhook: https */
    char secret_file[256]; /* webhook: HMAC-SHA256 key; "" none. Header X-Sekisho-Signature: sha256=HEX */
    char ca_file[256];     /* webhook; "" the system's */
    bool blocks, events;   /* what is sent: new blocks and their ends; alerts */
    bool dry_run;
};

/* Called in the API's store thread, inside the transaction: item as it came in /v1/events. */
void output_take(struct store *s, const struct output_sink *sinks, unsigned n, const char *agent, const char *item_json,
                 int64_t now_ms);

struct output;
/* Starts the sending thread; it opens its own store. */
SK_MUST_USE int output_start(const char *store, struct aws *aws, const struct output_sink *sinks, unsigned n,
                             struct output **out);
void output_stop(struct output *o);
/* Counters as JSON, the caller's (free). */
char *output_status(struct output *o);

/* Deep Security's event object for an item, as the one-element array that SNS messages carry. The caller's (free). */
SK_MUST_USE int output_deep_security(const struct store_agent *agent, const char *item_json, char **out);

#endif
