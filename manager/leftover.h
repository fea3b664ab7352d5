/*
 * IP sets that an earlier configuration wrote to: the store says that something in them is ours, and no target names
 * them any more (another prefix, a target that was removed), so that nobody empties them.
 */
#ifndef MANAGER_LEFTOVER_H
#define MANAGER_LEFTOVER_H

#include "world.h"

struct leftover {
    enum wafv2_scope scope;
    char region[32], name[WAFV2_NAME_MAX + 1];
    size_t ours;     /* of what is in it; where it cannot be read, of what the store has */
    char error[640]; /* why it cannot be read; "" */
};

/* Reads each of them in AWS (a set that is not there, or has nothing of ours in it, is none) and calls fn. Nothing is
 * changed. SK_EIO and so on: of the store. */
SK_MUST_USE int leftover_sets(struct world *w, void (*fn)(void *arg, const struct leftover *l), void *arg);

#endif
