/*
 * Retires hosts whose instance EC2 says is terminated, or about to be: those that have enrolled with an identity
 * document, for only of these it is known which instance they are. Asked every INSTANCES_EVERY by the manager that
 * leads, in a thread of its own with a store of its own.
 *
 * Only what EC2 says counts. An instance that is not in its answer may be of another account, or the credentials may
 * not see it: nobody is retired for that. EC2 shows a terminated instance for about an hour; a manager that was away
 * for longer leaves such a host to agents.retire-after. API: DescribeInstances (EC2, 2016-11-15); permission
 * ec2:DescribeInstances.
 */
#ifndef MANAGER_INSTANCES_H
#define MANAGER_INSTANCES_H

#include "aws/aws.h"
#include "leader.h"
#include "settings.h"

#define INSTANCES_EVERY 60  /* seconds */
#define INSTANCES_ASKED 200 /* in one call: the most that EC2 takes as values of a filter */

struct instances;
/* where, aws and leader are borrowed until instances_stop. */
SK_MUST_USE int instances_start(const char *where, struct aws *aws, const struct leader *leader,
                                struct instances **out);
void instances_stop(struct instances *i); /* NULL is fine */

#endif
