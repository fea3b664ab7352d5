/*
 * Scores: alerts of one client add up over a sliding window, and over the threshold the client is to be blocked.
 *
 *   window:  | b0 | b1 | b2 | ... | b7 |       eight buckets of window/8 each; the sum of those within the window
 * counts, ^ now      so that an alert is forgotten between 7/8 and 8/8 of the window later
 *
 * One table for all workers, reached only by alerts: set-associative, locked by stripes, as the thresholds of rules.
 * Fixed memory. Full policy: of a full set the client whose last alert is oldest is forgotten (counted: SK_C_SCORE_FULL
 * when it still had points). Thread-safe but for create and free.
 *
 * A clock that goes back: by less than a window, alerts count in the client's newest bucket; by more, the client begins
 * anew, so that points of a time to come do not stay.
 */
#ifndef DECIDE_SCORE_H
#define DECIDE_SCORE_H

#include "base/counters.h"
#include "conf/conf.h"
#include "decide/request.h"

#define SCORE_PARTS 8

struct decide_scores;

/* max_clients is rounded to what a table has. threshold, window: as conf says. SK_ENOMEM. */
SK_MUST_USE int decide_scores_create(const struct conf_score *conf, uint32_t max_clients, struct decide_scores **out);
void decide_scores_free(struct decide_scores *s); /* NULL is fine */
uint64_t decide_scores_memory(const struct decide_scores *s);

/*
 * One alert's points (0 is fine: it is remembered only if the client is known already). True: the threshold is reached
 * with this alert; then req->score, threshold and scores are filled, and the client begins anew from 0, so that its
 * next alerts do not each ask for the same block. c: the calling worker's.
 */
bool decide_score_add(struct decide_scores *s, const struct sk_addr *client, uint32_t points, uint32_t gid,
                      uint32_t sid, int64_t now, struct sk_counters *c, struct decide_request *req);
/* Points of a client now; 0: unknown. */
uint32_t decide_score_of(struct decide_scores *s, const struct sk_addr *client, int64_t now);

#endif
