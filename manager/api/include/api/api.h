/*
 * The manager's HTTPS interface (docs/manager-api.yaml): libmicrohttpd, TLS 1.2 or later, certificates of agents
 * checked against our CA alone. One thread talks to the network, one to the store: requests that change something are
 * collected and committed together, and answered behind the commit; nothing is answered for that is not on disk.
 *
 * Limits, each with a status and a counter: body (413), requests a second of an agent and of an address (429),
 * connections in all and of one address, blocks of an agent in a day, time to send a request (a slow client is closed),
 * waiting polls. A feed answer is made once for all agents that ask from the same number.
 */
#ifndef API_API_H
#define API_API_H

#include "base/addr.h"
#include "pki/instance.h"
#include "pki/pki.h"

#define API_BODY_MAX (1u << 20)

/* Where an entry is in AWS WAF, for GET /v1/entry and /v1/operator/waf. Called from the API's threads. */
struct api_waf {
    void *ctx;
    /* JSON array [{"set","scope","region"}], the caller's; NULL: none. */
    char *(*where)(void *ctx, const struct sk_prefix *target);
    /* JSON object of the writer's state, the caller's; NULL: off. */
    char *(*status)(void *ctx);
};

struct api_options {
    const char *store; /* store_open */
    struct sk_addr listen;
    uint16_t port;                  /* 0: any; api_port tells */
    const char *cert_pem, *key_pem; /* of the server, with chain */
    const struct pki_ca *ca;        /* of the agents */
    const uint8_t (*signing_keys)[PKI_ED25519_KEY];
    unsigned nsigning_keys;
    const struct instance_certs *instance_certs; /* NULL: identity documents are not asked for */
    struct instance_policy instance_policy;
    bool instance_required;
    int64_t cert_lifetime; /* ns */
    int64_t max_block;     /* ns */
    uint32_t max_blocks;   /* of one agent in a day, all at once if need be; 0: any number */
    uint32_t heartbeat_s;
    const struct sk_prefix *never; /* blocks of these are refused */
    size_t nnever;
    uint32_t max_connections, max_per_address;
    uint32_t agent_rate, address_rate; /* requests a second; bursts of ten times that */
    struct api_waf waf;
    /* Called from the store's thread for each item that was taken, inside the transaction: what outputs put into the
     * store commits with it (output/output.h). NULL: nothing. */
    void (*taken)(void *arg, void *store, const char *agent, const char *item_json);
    void *taken_arg;
};

struct api;
SK_MUST_USE int api_start(const struct api_options *o, struct api **out, char *why, size_t cap);
uint16_t api_port(const struct api *a);
/* New server certificate without a break. */
SK_MUST_USE int api_set_certificate(struct api *a, const char *cert_pem, const char *key_pem);
/* Answers what is waiting, then closes. */
void api_stop(struct api *a);
/* Counters as JSON, the caller's (free). */
char *api_status(struct api *a);

#endif
