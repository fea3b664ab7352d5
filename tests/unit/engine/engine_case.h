/*
 * A whole engine on packets by hand. HOME_NET is 10.0.0.0/8; conversations run between a client outside
 * and 10.0.0.1:80. Every record that the engine emits is checked with event_valid(); at the end each frame and each
 * flow must be in the ledger.
 */
#ifndef TEST_ENGINE_CASE_H
#define TEST_ENGINE_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <cmocka.h>
#include "base/clock.h"
#include "conf/conf.h"
#include "engine/engine.h"
#include "event/event.h"

#define ECASE_MAX 512

enum { TS, TC };

struct ecase {
    struct conf *conf;
    struct engine *e;
    struct engine_worker *w;
    struct engine_sink sink;
    struct sk_counters c;
    uint32_t sids[ECASE_MAX];   /* of alerts */
    uint8_t blocked[ECASE_MAX]; /* alert.action "blocked" */
    unsigned nalerts, nevents[EVENT_TYPE_COUNT];
    struct decide_request blocks[16];
    unsigned nblocks;
    struct event_rec flood; /* the last one told */
    bool bad_record;
    int64_t now;
    uint64_t number;
    bool dropped;       /* verdict of the last packet */
    bool csum_unfilled; /* frames come with that mark */
};

/* A TCP connection; seq[] counts what each side has sent. */
struct conn {
    uint32_t client; /* IPv4 address, host order */
    uint16_t cport, sport;
    uint32_t seq[2];
};

/* settings: "key=value;..." or NULL. */
void ecase_open(struct ecase *k, const char *settings, const char *rules);
/* As from an interface. */
void ecase_open_live(struct ecase *k, const char *settings, const char *rules);
void ecase_close(struct ecase *k);
/* SK_OK or the error of engine_load. */
int ecase_load(struct ecase *k, const char *rules, bool strict, struct engine_rule_stats *st);
void ecase_sink(struct ecase *k, struct engine_sink *sink);
/* Raw IP. */
void ecase_frame(struct ecase *k, const void *ip, uint32_t len);

struct conn conn_make(uint32_t client, uint16_t cport);
void conn_send(struct ecase *k, struct conn *c, int dir, uint8_t flags, const void *data, uint32_t len);
void conn_text(struct ecase *k, struct conn *c, int dir, const char *text);
void conn_handshake(struct ecase *k, struct conn *c);
void conn_bye(struct ecase *k, struct conn *c);
void udp_send(struct ecase *k, uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport, const char *text);
/* Writes an IPv4 packet with TCP header into buf (at least 40 + len bytes); returns its length. */
uint32_t tcp_packet(uint8_t *buf, uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport, uint32_t seq,
                    uint32_t ack, uint8_t flags, const void *data, uint32_t len);

unsigned alerts(const struct ecase *k, uint32_t sid);
uint64_t ecounted(const struct ecase *k, enum sk_counter c);

#define SERVER 0x0a000001u
#define CLIENT 0xc0000201u

#endif
