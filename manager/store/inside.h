/*
 * What the store's files share. Numbers (of entries, events, audit records, outgoing things) come from the one row of
 * `state`: inside_lock locks it and reads it, once a transaction; they are counted up here, and written back before the
 * commit. So whoever writes such things waits for whoever else does, and numbers appear in their order.
 *
 *   int rc = inside_enter(s, &own);
 *   if (rc == SK_OK) rc = ...;
 *   return inside_leave(s, own, rc);
 */
#ifndef STORE_INSIDE_H
#define STORE_INSIDE_H

#include <string.h>
#include "base/arena.h"
#include "base/hash.h"
#include "db.h"
#include "store/store.h"

#define MS_PER_DAY INT64_C(86400000)

struct numbers {
    int64_t entry, first, event, audit, outgoing;
};

/* What the open transaction knows, and what it has still to say (ahead.h). */
#define KNOWN_BUCKETS 1024
struct known;
struct known_list {
    struct known *head, **tail;
};
struct rows {
    struct db_value *v;
    size_t n, cap; /* rows; values */
};
struct later {
    struct rows events, outgoing, beats, puts, ends, other; /* other: made by the flush itself */
    struct known_list spools, debts, targets;
    size_t bytes; /* of texts */
    bool any;
};
struct store {
    struct db *db;
    bool open;   /* a transaction of store_begin */
    bool failed; /* a statement of it has */
    bool locked; /* numbers are ours until its end */
    bool notify; /* something that others wait for */
    struct numbers numbers, stored;
    struct sk_hash_key key;
    struct known **known;   /* KNOWN_BUCKETS */
    struct sk_arena memory; /* the transaction's */
    struct later later;
};

#define ARGS(...)                                                                                                      \
    (const struct db_value[]){__VA_ARGS__}, sizeof((const struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)
#define I db_i
#define T db_t

/* own: the transaction is this call's. SK_EIO also when the open one has failed before. */
SK_MUST_USE int inside_enter(struct store *s, bool *own);
/* Ends an own transaction by rc; SK_EIO fails the open one. */
SK_MUST_USE int inside_leave(struct store *s, bool own, int rc);
SK_MUST_USE int inside_lock(struct store *s);
/* Says what is to be said, so that what is asked next sees it. inside_query and inside_change do so themselves; who
 * calls db_exec for what may be waiting to be said does too. */
SK_MUST_USE int inside_settle(struct store *s);
/* One statement that changes, in its transaction. SK_ENOENT: no row. */
SK_MUST_USE int inside_change(struct store *s, const char *sql, const struct db_value *v, unsigned n);
/* Reading: SK_EIO when the open transaction has failed, and then it fails. */
SK_MUST_USE int inside_query(struct store *s, const char *sql, const struct db_value *v, unsigned n, struct db_rows *r);
/* Calls row for each; SK_OK. */
typedef void inside_row(void *arg, const struct db_rows *r);
SK_MUST_USE int inside_each(struct store *s, const char *sql, const struct db_value *v, unsigned n, inside_row *row,
                            void *arg);
/* The one row: SK_OK, or SK_ENOENT. */
SK_MUST_USE int inside_one(struct store *s, const char *sql, const struct db_value *v, unsigned n, inside_row *row,
                           void *arg);
/* The first column of the one row, 0 without. */
SK_MUST_USE int inside_int(struct store *s, const char *sql, const struct db_value *v, unsigned n, int64_t *out);
static inline bool inside_fits(const char *text, size_t cap)
{
    return strnlen(text, cap) < cap;
}

struct target_text {
    char s[SK_PREFIX_STRLEN];
};
struct target_text inside_target(const struct sk_prefix *p);
struct sk_prefix inside_prefix(const char *text);

#endif
