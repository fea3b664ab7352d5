/* Items of a batch (docs/manager-api.yaml, Batch): events as the manager needs them, blocks, ends. */
#ifndef REPORT_ITEM_H
#define REPORT_ITEM_H

#include "ipc/message.h"

#define ITEM_EVENT_MAX (16u << 10) /* bytes of an event; the greatest parts of a longer one go */

/* *item: text, the caller's (free). line: one EVE object; payloads and packets are left out. SK_EPROTO: it is none.
 * SK_EFULL: too long even without its parts. SK_ENOMEM. */
SK_MUST_USE int item_event(const char *line, size_t len, int64_t now, char **item);
/* A block, or a later end of it. */
SK_MUST_USE int item_block(const struct ipc_block_news *n, char **item);
SK_MUST_USE int item_end(const char *id, int64_t ended, const char *why, char **item);

#endif
