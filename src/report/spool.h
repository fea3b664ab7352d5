/*
 * What this host has to tell the manager, on disk (SQLite) until the manager has it.
 *
 *   item:   n | kind | target | body          one JSON text each, told in the order of n
 *           ~~~~~~~~~ batch ~~~~~~~~~|        items up to state.last belong to batch state.seq, and stay with it
 *   open:   id | target | expires | body      blocks that the manager has been told of, or will be, by the items
 *
 * One batch is under way at a time. Its number and its items are on the disk (fsync) before anybody sees them; it is
 * the same after every kind of crash until spool_answered. Everything else may be lost with the power, and never comes
 * twice: WAL, synchronous=NORMAL, and FULL for the transaction that makes a batch.
 *
 * Full policy: the file and its log keep within `size`. When that is reached the oldest events go; when there are none
 * left, new items are refused. Both are counted.
 *
 * A file that is damaged is set aside (PATH.damaged, over an earlier one) and a new one begun, with a new id: the
 * manager counts batches an id. File mode 0600. Owner: uplink; one thread.
 */
#ifndef REPORT_SPOOL_H
#define REPORT_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define SPOOL_SIZE_MIN (1u << 20)
#define SPOOL_ITEM_MAX (64u << 10) /* bytes of an item; a longer one is refused */
#define SPOOL_ID_LEN   33          /* 32 lower-case hex digits, NUL */
#define SPOOL_TURN     1000        /* items, at most, before a commit */

struct spool_stats {
    uint64_t items, bytes;             /* that wait */
    uint64_t lost_events, lost_blocks; /* since spool_open */
    uint64_t open;                     /* blocks that the manager believes in */
};

struct spool_batch {
    uint64_t seq;
    unsigned items;
    const char *text; /* the items with commas between them; until the next call */
    size_t len;
};

struct spool;

/* *moved (may be NULL): a damaged file has been set aside. SK_EIO, SK_EPERM, SK_ENOTSUP (from a later version). */
SK_MUST_USE int spool_open(const char *path, uint64_t size, struct spool **out, bool *moved);
void spool_close(struct spool *s); /* commits; NULL is fine */

/* SK_EFULL: no room, or too long; counted. SK_EIO: the disk; counted. */
SK_MUST_USE int spool_event(struct spool *s, const char *item, size_t len);
/* A block, new or with another end. A target of "" is fine where it does not matter. */
SK_MUST_USE int spool_set(struct spool *s, const char *id, const char *target, int64_t expires_ms, const char *item,
                          size_t len);
/* It has ended; item NULL: that is not to be told. */
SK_MUST_USE int spool_end(struct spool *s, const char *id, const char *target, const char *item, size_t len);
/* What is written so far survives this process. Nothing to do is SK_OK. */
SK_MUST_USE int spool_commit(struct spool *s);

/* The batch under way, or a new one. SK_EAGAIN: nothing waits. SK_EIO. */
SK_MUST_USE int spool_batch(struct spool *s, unsigned max_items, size_t max_bytes, struct spool_batch *out);
/* The manager has it: its items leave. */
SK_MUST_USE int spool_answered(struct spool *s);
/* The manager has refused it as it is, and taken nothing: the same number again with half of its items. A single item
 * goes, counted as lost. */
SK_MUST_USE int spool_halve(struct spool *s);
/* The manager does not know the batches before: a new id, numbers from 1, and blocks that are open once more. */
SK_MUST_USE int spool_renew(struct spool *s);
const char *spool_id(const struct spool *s);

/* An item about that target waits. */
bool spool_waits(struct spool *s, const char *target);
/* Is that block open, with that end? */
bool spool_has(struct spool *s, const char *id, int64_t expires_ms);
/* Open blocks are marked as unseen; spool_set marks its own as seen, and spool_see one that has not changed. */
void spool_sync_begin(struct spool *s);
void spool_see(struct spool *s, const char *id);
/* Gives each that is unseen; the callback ends it. */
typedef void spool_open_fn(void *arg, const char *id, const char *target, int64_t expires_ms);
SK_MUST_USE int spool_unseen(struct spool *s, spool_open_fn *fn, void *arg);
/* Forgets blocks that have run out. */
void spool_prune(struct spool *s, int64_t now_ms);

void spool_stats(const struct spool *s, struct spool_stats *out);
/* A statement has found the file damaged: close it, and open it anew with spool_set_aside in between. */
bool spool_damaged(const struct spool *s);
SK_MUST_USE int spool_set_aside(const char *path);

#endif
