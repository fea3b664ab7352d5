/*
 * The journal: blocks on disk (SQLite), so that they survive a restart of the guard or the machine with their absolute
 * expiry, and the history of those that ended.
 *
 * WAL and synchronous=NORMAL: a crash of the guard loses nothing; a power cut may lose the last moments, never the
 * file. File mode 0600. Schema version in user_version: an older one is migrated, a newer one refused. A damaged file
 * is moved aside to PATH.corrupt-TIME with a message and an empty one is begun (what the kernel holds is adopted).
 *
 * Owner: enforcer; one thread, and inside one that waits for the disk. Writes are collected into one transaction until
 * journal_commit.
 * Limits: history beyond JOURNAL_HISTORY_MAX ended blocks, or older than the keep time, is removed by journal_prune.
 */
#ifndef ENFORCE_JOURNAL_H
#define ENFORCE_JOURNAL_H

#include "enforce/blocktable.h"

#define JOURNAL_SCHEMA      1
#define JOURNAL_HISTORY_MAX 1000000

enum journal_end { JOURNAL_EXPIRED, JOURNAL_UNBLOCKED, JOURNAL_NEVER };

struct journal;

/* Creates the file if there is none. *moved (may be NULL): a damaged file was moved aside. SK_EIO, SK_EPERM,
 * SK_ENOTSUP (schema from a later version). */
SK_MUST_USE int journal_open(const char *path, struct journal **out, bool *moved);
/* Commits and closes. */
void journal_close(struct journal *j);

SK_MUST_USE int journal_add(struct journal *j, const struct block *b);
/* New expiry, request count and hits. */
SK_MUST_USE int journal_update(struct journal *j, const struct block *b);
SK_MUST_USE int journal_end(struct journal *j, const struct block *b, enum journal_end why, int64_t now);
/* After failed writes (disk full): makes the blocks of the table, and no others, those in force; commits. */
SK_MUST_USE int journal_rewrite(struct journal *j, const struct block_table *t, int64_t now);
/* Makes all since the last commit durable; nothing to do is SK_OK. */
SK_MUST_USE int journal_commit(struct journal *j);
/* Has the write-ahead log moved into the file, without waiting for it. The enforcer asks at each read-back. */
void journal_checkpoint(struct journal *j);

/* Blocks without an end, into the table; those that expired before now are ended in the journal instead. *loaded: how
 * many. SK_EFULL: the table took only as many as it could, longest expiry first. */
SK_MUST_USE int journal_load(struct journal *j, struct block_table *t, int64_t now, size_t *loaded);

/*
 * Blocks by descending creation, also ended ones; id NULL: all, else that one. At most limit. The block is borrowed
 * for the call. ended: 0 while in force, else when; why as journal_end.
 */
typedef void journal_fn(void *arg, const struct block *b, int64_t ended, enum journal_end why);
SK_MUST_USE int journal_history(struct journal *j, const char *id, unsigned limit, journal_fn *fn, void *arg);
SK_MUST_USE int journal_prune(struct journal *j, int64_t ended_before);
const char *journal_end_name(enum journal_end why); /* "expired", "unblocked", "never-list" */

#endif
