/*
 * What one manager alone does, in a thread of its own with a store of its own: writing AWS WAF, retiring agents that
 * are silent, forgetting what is old. Of several managers on one database the one that leads does it (store_lead); the
 * others wait to take over, and meanwhile copy what has been written, to answer for it.
 *
 * Agents are silent too when no manager ran: after a break of more than LEADER_BREAK nobody is retired until the time
 * to retirement has passed again.
 */
#ifndef MANAGER_LEADER_H
#define MANAGER_LEADER_H

#include "api/api.h"
#include "settings.h"

#define LEADER_BREAK (600 * INT64_C(1000)) /* ms */

struct leader;
/* aws: NULL without waf.enabled. settings, where and name are borrowed until leader_stop. why: text. */
SK_MUST_USE int leader_start(const struct settings *s, const char *where, const char *name, struct aws *aws,
                             struct leader **out, char *why, size_t cap);
void leader_stop(struct leader *l); /* NULL is fine */
bool leader_leads(const struct leader *l);
/* For the API; valid until leader_stop. */
struct api_waf leader_waf(struct leader *l);

#endif
