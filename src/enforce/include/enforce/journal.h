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

#define JOURNAL_SCHEMA      3 /* 2: what a block was decided on, repeats, dry run; 3: what the fleet says of it */
#define JOURNAL_HISTORY_MAX 1000000

/* X(identifier, "name"): why a block ended. */
#define JOURNAL_ENDS(X)                                                                                                \
    X(EXPIRED, "expired")                                                                                              \
    X(UNBLOCKED, "unblocked")                                                                                          \
    X(NEVER, "never-list")                                                                                             \
    X(STOPPED, "agent-stopped")                                                                                        \
    X(SWITCHED, "dry-run-switched") /* of a dry run that is over, or a real one when a dry run begins */               \
    X(FLEET, "lifted-by-manager")
enum journal_end {
#define X(id, name) JOURNAL_##id,
    JOURNAL_ENDS(X)
#undef X
        JOURNAL_END_COUNT
};

struct journal;

/* Creates the file if there is none. *moved (may be NULL): a damaged file was moved aside. SK_EIO, SK_EPERM,
 * SK_ENOTSUP (schema from a later version). */
SK_MUST_USE int journal_open(const char *path, struct journal **out, bool *moved);
/* Commits and closes. */
void journal_close(struct journal *j);

SK_MUST_USE int journal_add(struct journal *j, const struct block *b);
/* New expiry, request count, hits, and what the fleet says. */
SK_MUST_USE int journal_update(struct journal *j, const struct block *b);
SK_MUST_USE int journal_end(struct journal *j, const struct block *b, enum journal_end why, int64_t now);
/* After failed writes (disk full): makes the blocks of the table, and no others, those in force; commits. */
SK_MUST_USE int journal_rewrite(struct journal *j, const struct block_table *t, int64_t now);
/* Makes all since the last commit durable; nothing to do is SK_OK. */
SK_MUST_USE int journal_commit(struct journal *j);
/* Has the write-ahead log moved into the file, without waiting for it. The enforcer asks at each read-back. */
void journal_checkpoint(struct journal *j);

/* Ends blocks of the other kind: those of a dry run when this is none, real ones when it is one. *n: how many. */
SK_MUST_USE int journal_switch(struct journal *j, bool dry_run, int64_t now, size_t *n);
/* Blocks of that kind without an end, into the table; those that expired before now are ended in the journal instead.
 * *loaded: how many. SK_EFULL: the table took only as many as it could, longest expiry first. */
SK_MUST_USE int journal_load(struct journal *j, struct block_table *t, bool dry_run, int64_t now, size_t *loaded);
/* What ended since then and bears on the next block of its target, oldest first: blocks of rules that expired, with
 * their repeat number, and blocks of any origin that were unblocked, by the manager if they were not the fleet's. */
typedef void journal_offender_fn(void *arg, const struct sk_prefix *target, uint32_t repeat, int64_t ended,
                                 enum journal_end why);
SK_MUST_USE int journal_offenders(struct journal *j, bool dry_run, int64_t since, journal_offender_fn *fn, void *arg);

/* What was unblocked here before its time was over, and would still last: the latest first. */
SK_MUST_USE int journal_unblocked(struct journal *j, int64_t now, unsigned limit,
                                  void (*fn)(void *arg, const struct block *b), void *arg);

/*
 * Blocks by descending creation, also ended ones; id NULL: all, else that one. At most limit. The block is borrowed
 * for the call. ended: 0 while in force, else when; why as journal_end.
 */
typedef void journal_fn(void *arg, const struct block *b, int64_t ended, enum journal_end why);
SK_MUST_USE int journal_history(struct journal *j, const char *id, unsigned limit, journal_fn *fn, void *arg);
/* The same of one target. */
SK_MUST_USE int journal_target(struct journal *j, const struct sk_prefix *target, unsigned limit, journal_fn *fn,
                               void *arg);
/*
 * Ended ones, the latest end first, that ended at `since` or later. *c: zero at the first call; the next call goes on
 * behind what was given, until c->end.
 */
struct journal_cursor {
    int64_t ended, row; /* row 0: at the beginning */
    bool end;
};
SK_MUST_USE int journal_ended(struct journal *j, int64_t since, struct journal_cursor *c, unsigned limit,
                              journal_fn *fn, void *arg);
SK_MUST_USE int journal_prune(struct journal *j, int64_t ended_before);
const char *journal_end_name(enum journal_end why);

#endif
