/*
 * What an alert of a rule does to the client that caused it: decide.policy first (the first entry that fits), then the
 * rule's own metadata (sekisho_block), then its action (drop), then points by priority (none in classes
 * of rules that tell of no attack: policy-violation, misc-activity, not-suspicious, protocol-command-decode). Pure;
 * knows a rule by what is passed in.
 */
#ifndef DECIDE_PLAN_H
#define DECIDE_PLAN_H

#include "conf/conf.h"
#include "decide/request.h"

struct decide_rule {
    uint32_t gid, sid, priority;
    const char *class_name;  /* "web-application-attack"; NULL: none */
    const char *const *meta; /* key, value, key, value, ... */
    unsigned nmeta;          /* pairs */
    int64_t block_seconds;   /* metadata sekisho_block: > 0 seconds, < 0 never, 0 says nothing */
    bool drop;               /* its action is drop or reject, and holds */
};

enum decide_act { DECIDE_NOTHING, DECIDE_BLOCK, DECIDE_SCORE };
struct decide_plan {
    enum decide_act act;
    enum decide_reason reason; /* BLOCK: RULE or POLICY */
    bool explicit_block; /* BLOCK: the rule's author or the operator asked for it in so many words: obeyed also on a
                            packet whose source is not proven by a handshake */
    int64_t seconds;     /* BLOCK */
    uint32_t points;     /* SCORE */
};

/* prevent: the mode; in detect mode a drop rule blocks only with decide.block-on-drop. */
void decide_plan(const struct conf_decide *conf, bool prevent, const struct decide_rule *rule, struct decide_plan *out);

#endif
