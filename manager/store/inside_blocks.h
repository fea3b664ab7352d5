#ifndef STORE_INSIDE_BLOCKS_H
#define STORE_INSIDE_BLOCKS_H

#include "inside.h"

/* What the blocks of a target come to now. The numbers are locked before the blocks are changed: whoever changes others
 * of the same target at the same time waits, and then sees these. */
SK_MUST_USE int entry_compute(struct store *s, const char *target, int64_t now);

#endif
