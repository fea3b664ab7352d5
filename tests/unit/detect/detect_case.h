/*
 * Detection without an engine: rules through the real reader, packets and transactions filled in by hand.
 * HOME_NET is 10.0.0.0/8, EXTERNAL_NET the rest; the client is 192.0.2.1:40000, the server 10.0.0.1:80.
 */
#ifndef TEST_DETECT_CASE_H
#define TEST_DETECT_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <cmocka.h>
#include "base/clock.h"
#include "detect/detect.h"

#define CASE_MAX_FIRED 256

enum { TS, TC };

struct rules {
    const struct rule_set *tree;
    struct detect_set *set;
    char said[4096];
};

/* What is put into the buffers of a transaction; have 0 (not yet) until set. */
struct fake_buf {
    struct sk_span data;
    enum detect_have have;
    bool complete;
    unsigned asked;
};
struct fake_tx {
    struct detect_tx dt;
    struct fake_buf buf[RULE_BUF_COUNT];
    uint64_t id;
    bool done;
};

struct tcase {
    struct rules rules;
    struct detect_thread *t;
    struct detect_thresholds *th;
    struct sk_counters c;
    struct detect_flow df;
    struct sk_packet p;
    struct sk_addr client, server;
    struct detect_input in;
    uint32_t fired[CASE_MAX_FIRED]; /* sids, in order, of all packets so far */
    unsigned nfired;
    bool drop; /* of the last packet */
    uint64_t offset[2];
    bool first[2];
};

/* Rules that must all load. */
struct rules rules_load(const char *text, const char *thresholds);
/* Rules of which some may be refused. */
struct rules rules_try(const char *text);
void rules_free(struct rules *r);

void case_open(struct tcase *k, const char *rules);
void case_open_conf(struct tcase *k, const char *rules, const char *thresholds, const struct detect_thread_conf *conf);
void case_close(struct tcase *k);
/* Other rules from the next packet on; the old ones are freed. */
void case_reload(struct tcase *k, const char *rules);
/* Another flow; the old one is released. */
void case_new_flow(struct tcase *k);

/* Steps of a packet. */
void case_begin(struct tcase *k, int dir, const void *payload, uint32_t len);
void case_end(struct tcase *k);
/* A whole packet outside a stream (UDP unless k->in.proto says otherwise). */
void case_packet(struct tcase *k, int dir, const char *payload);
/* A TCP segment that becomes part of the stream. push: scan at once. */
void case_segment(struct tcase *k, int dir, const void *payload, uint32_t len, bool push);
void case_text(struct tcase *k, int dir, const char *payload);
void case_eof(struct tcase *k, int dir);

void fake_set(struct fake_tx *tx, enum rule_buf buf, const char *text, bool complete);
/* Progress in one direction, in a packet of its own. */
void case_tx(struct tcase *k, struct fake_tx *tx, int dir, bool done);

/* How often a rule has alerted. */
unsigned fired(const struct tcase *k, uint32_t sid);
struct sk_addr case_addr(const char *text);
uint64_t counted(const struct tcase *k, enum sk_counter c);

#endif
