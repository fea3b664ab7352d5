/*
 * What a transaction knows of agents, spools, blocks and targets, and what it has still to say of them. Each is read
 * once, all together where store_ahead has named them. What the calls change is changed here, and said to the database
 * by later_flush: before anything else is asked of it, and before the commit.
 *
 *   store_ahead ──one query──▶ known ◀── store_agent_check, store_batch, store_block_put ...
 *                                │
 *                                └── later_flush ──one statement a kind──▶ database
 */
#ifndef STORE_AHEAD_H
#define STORE_AHEAD_H

#include "inside.h"

enum known_kind { KNOWN_AGENT, KNOWN_SPOOL, KNOWN_BLOCK, KNOWN_TARGET };

struct known {
    struct known *next; /* in its bucket */
    struct known *more; /* in the list of those that are to be said */
    enum known_kind kind;
    const char *a, *b;  /* agent; agent, spool; agent, block; target */
    bool read, locked;  /* locked: read behind inside_lock, so it stays true */
    bool found, listed; /* found: it is in the database, or will be with the commit */
    size_t row;         /* of its beat or put among those that are to be said, from 1; 0 none */
    union {
        struct {
            int64_t state, debt;
            char serial[STORE_SERIAL_LEN], before[STORE_SERIAL_LEN];
        } agent;
        struct {
            int64_t seq, stored; /* stored 0: a new one */
        } spool;
        struct {
            char target[SK_PREFIX_STRLEN];
            int64_t ended;
        } block;
        struct {
            int64_t now; /* of its latest change */
            struct entry_now *entry;
        } target;
    };
};

/* Read already, or now. SK_OK also when there is none (found); SK_EIO, SK_ENOMEM. Spools and blocks lock the numbers:
 * whoever else changes them waits. */
SK_MUST_USE int known_agent(struct store *s, const char *id, struct known **out);
SK_MUST_USE int known_spool(struct store *s, const char *agent, const char *spool, struct known **out);
SK_MUST_USE int known_block(struct store *s, const char *agent, const char *id, struct known **out);
/* An agent that is read behind the lock. */
SK_MUST_USE int known_agent_locked(struct store *s, const char *id, struct known **out);
/* Blocks of this target have changed: the flush says what they come to. */
SK_MUST_USE int known_touch(struct store *s, const char *target, int64_t now);
/* NULL: it is not known. */
struct known *known_find(struct store *s, enum known_kind kind, const char *a, const char *b);
/* Nothing is known any more; all has been said (inside_settle), or is not to be. */
void known_clear(struct store *s);

/* One row more, to be filled by the caller with cols values. NULL: no memory. */
struct db_value *later_row(struct rows *r, unsigned cols);
/* In the transaction's memory: a statement's text must live until it is said. NULL: no memory. */
const char *later_text(struct store *s, const char *text);
/* Into the list of those that are to be said. */
void later_list(struct known_list *l, struct known *k);
/* Everything that is to be said. */
SK_MUST_USE int later_flush(struct store *s);
void later_clear(struct store *s);
void later_free(struct store *s);

/* ---- entries.c ---- */

/* Of all targets that were touched: what their blocks come to, and the entry changed where that is something else. */
SK_MUST_USE int entries_compute(struct store *s, struct known *targets);

#endif
