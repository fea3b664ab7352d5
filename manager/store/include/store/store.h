/*
 * What the manager knows, in SQLite (one file, WAL) or PostgreSQL: the same statements on both (store/db.h). Everything
 * that the manager promises is here and on disk before it is promised; what is kept in memory elsewhere is a copy.
 *
 * A struct store belongs to one thread; open one a thread. Calls that change something do so in a transaction of their
 * own, or in the one that store_begin opened: whoever has many changes at once (the API) puts them into one, and
 * answers behind store_commit. A failed statement inside a transaction fails all of it (store_commit says so).
 *
 * Entries are what the fleet blocks: one a target, made of all blocks of that target that are in force: it ends when
 * the last of them ends. Each change of an entry takes the next number of one sequence, given out under a lock that is
 * held until the commit: whoever has seen number N has seen all before it.
 *
 * Times are wall-clock milliseconds unless a name says otherwise. Strings that come out are valid until the callback
 * returns, or are in the struct. Text is UTF-8 without control characters (the API checks); no string ever becomes part
 * of a statement.
 * Inside a transaction, heartbeats, batches, events, outgoing things and blocks are said to the database together, the
 * commit at the latest; whoever reads sees them. Each way to it and back costs time that all others wait.
 *
 * Errors: SK_ENOENT, SK_EEXIST, SK_EFULL as each call says; SK_EINVAL: a text that is no UTF-8 (nothing has happened,
 * and an open transaction goes on); SK_EIO: the database failed, store_error() has its words, the transaction is lost,
 * and the next call tries to connect again. A callback may use the same store.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"

#define STORE_AGENT_LEN  28
#define STORE_HOST_MAX   256
#define STORE_TEXT_MAX   512
#define STORE_ID_LEN     24 /* block IDs and token IDs, with NUL */
#define STORE_HASH_LEN   65 /* SHA-256, hex, NUL */
#define STORE_SERIAL_LEN 33
#define STORE_SPOOL_LEN  40
#define STORE_JSON_MAX   65536 /* of one event */
#define STORE_FOREVER    INT64_MAX

struct store;

/* "sqlite:/var/lib/sekisho-manager/manager.db" or a PostgreSQL connection string ("postgresql://...", "host=...").
 * Makes or migrates the schema (one process at a time); a schema of a later version is refused (SK_ENOTSUP). why: text
 * of cap bytes without secrets. */
SK_MUST_USE int store_open(const char *where, struct store **out, char *why, size_t cap);
/* What store_open would find, without making or changing anything: the schema's version there, 0 for an empty database,
 * and the one that this program knows. SK_ENOENT: no file of SQLite yet; SK_EIO: it does not answer, why has its words.
 */
SK_MUST_USE int store_look(const char *where, int64_t *version, int64_t *known, char *why, size_t cap);
void store_close(struct store *s); /* NULL is fine */
const char *store_error(const struct store *s);
/* "sqlite" or "postgresql". */
const char *store_kind(const struct store *s);

SK_MUST_USE int store_begin(struct store *s);
/* What the calls of the open transaction will ask, read at once: a database may be far. An agent (store_agent_check,
 * store_agent_beat), one of its spools (store_batch; with the agent), or one of its blocks (store_block_put,
 * store_block_end). What was not named is read when it is asked. */
struct store_ask {
    const char *agent, *spool, *block; /* the latter two: NULL */
};
SK_MUST_USE int store_ahead(struct store *s, const struct store_ask *asks, size_t n);
SK_MUST_USE int store_commit(struct store *s);
void store_rollback(struct store *s);

/* May anything have changed since the last call, by whatever process, that others wait for: entries, bundles, outgoing
 * things, agents' states, tokens? PostgreSQL: LISTEN; SQLite: data_version and own commits, so any change. fd to poll
 * for it, or -1: call it every 100 ms. Other calls may take in what the fd would tell: call store_changed after them
 * and before poll. The fd is another one after a connection was lost: ask each time. */
bool store_changed(struct store *s);
int store_changed_fd(const struct store *s);

/* ---- one writer ---- */

/* PostgreSQL: an advisory lock of this session; SQLite: a lock on the file beside the database. Held until the
 * connection ends. SK_EAGAIN: another manager has it. Call it again and again: it also says whether it is still held.
 */
SK_MUST_USE int store_lead(struct store *s);

/* ---- tokens: of enrolment, and of operators ---- */

enum store_token_kind { STORE_TOKEN_ENROL, STORE_TOKEN_OPERATOR };
struct store_token {
    char id[STORE_ID_LEN];     /* shown; not secret */
    char hash[STORE_HASH_LEN]; /* SHA-256 of the secret */
    enum store_token_kind kind;
    int64_t created, expires; /* STORE_FOREVER: never */
    int64_t uses_left;        /* -1: without limit */
    int64_t used, last_used;
    bool revoked;
    char role[16]; /* operator: "read" or "admin" */
    char note[STORE_TEXT_MAX];
    char tags[STORE_TEXT_MAX]; /* JSON object, given to the agents that enrol with it */
};
SK_MUST_USE int store_token_add(struct store *s, const struct store_token *t); /* SK_EEXIST */
/* By hash, whatever its state. SK_ENOENT. */
SK_MUST_USE int store_token_find(struct store *s, const char *hash, struct store_token *out);
/* Takes one use. SK_EPERM: revoked, expired or used up (whichever store_token_find then shows); SK_ENOENT. Atomic. */
SK_MUST_USE int store_token_use(struct store *s, const char *hash, enum store_token_kind kind, int64_t now,
                                struct store_token *out);
SK_MUST_USE int store_token_revoke(struct store *s, const char *id);
typedef void store_token_fn(void *arg, const struct store_token *t);
SK_MUST_USE int store_tokens(struct store *s, store_token_fn *fn, void *arg);

/* ---- agents ---- */

enum store_agent_state { STORE_AGENT_ACTIVE, STORE_AGENT_REVOKED, STORE_AGENT_RETIRED };
struct store_agent {
    char id[STORE_AGENT_LEN];
    enum store_agent_state state;
    char host[STORE_HOST_MAX], version[64], address[48];
    char instance[32], account[16], region[32]; /* of the identity document; "" */
    char tags[STORE_TEXT_MAX];                  /* JSON object */
    char token[STORE_ID_LEN];
    int64_t enrolled, seen, cert_until;
    int64_t rules_version, policy_version; /* what it says it has loaded */
    char status[2048];                     /* its last heartbeat, JSON */
    char serial[STORE_SERIAL_LEN];         /* of its current certificate */
};
/* SK_EEXIST: the ID is there, or an agent of that instance that is not retired (instance "" joins as often as it
 * likes).
 */
SK_MUST_USE int store_agent_add(struct store *s, const struct store_agent *a);
SK_MUST_USE int store_agent_get(struct store *s, const char *id, struct store_agent *out);
/* A renewed certificate: from now on this serial counts, and the one before it until it has been used once. */
SK_MUST_USE int store_agent_renewed(struct store *s, const char *id, const char *serial, int64_t cert_until);
/* May this certificate speak for that agent now? SK_EPERM: revoked, retired, or an older certificate; SK_ENOENT. */
SK_MUST_USE int store_agent_check(struct store *s, const char *id, const char *serial);
/* SK_ENOENT. SK_EFULL: a text is longer than its field in struct store_agent. */
SK_MUST_USE int store_agent_beat(struct store *s, const char *id, int64_t now, const char *address, const char *version,
                                 const char *status, int64_t rules_version, int64_t policy_version);
/* Takes one of the `most` blocks that an agent has for a day, all of them at once if it likes, whichever managers it
 * tells; 0: without limit. SK_EFULL: there is none left; SK_ENOENT. */
SK_MUST_USE int store_agent_may_block(struct store *s, const char *id, int64_t most, int64_t now);
/* SK_ENOENT. SK_EEXIST: back to life, while another agent of that instance is there. */
SK_MUST_USE int store_agent_set_state(struct store *s, const char *id, enum store_agent_state state, int64_t now);
/* Retires those that have been silent since before `since`. *n: how many. */
SK_MUST_USE int store_agents_retire(struct store *s, int64_t since, int64_t now, unsigned *n);
typedef void store_agent_fn(void *arg, const struct store_agent *a);
SK_MUST_USE int store_agents(struct store *s, store_agent_fn *fn, void *arg);

/* ---- batches ---- */

/* May batch `seq` of this spool be taken? SK_OK: it is the next (recorded in the transaction); SK_EEXIST: it has been
 * taken before; SK_EPROTO: there is a gap, *next says which is wanted. A spool that is not known begins at 1. The last
 * eight spools of an agent are known. */
SK_MUST_USE int store_batch(struct store *s, const char *agent, const char *spool, int64_t seq, int64_t *next);

struct store_event {
    int64_t id; /* given by the store */
    char agent[STORE_AGENT_LEN];
    int64_t time;
    char type[16]; /* "alert", "block" ... */
    const char *json;
};
/* SK_EFULL: more than STORE_JSON_MAX. */
SK_MUST_USE int store_event_add(struct store *s, const struct store_event *e);
typedef void store_event_fn(void *arg, const struct store_event *e);
/* After id `after`, oldest first; before: newest first with after < 0. agent, type: NULL all. */
SK_MUST_USE int store_events(struct store *s, const char *agent, const char *type, int64_t after, unsigned limit,
                             store_event_fn *fn, void *arg);

/* ---- blocks and entries ---- */

struct store_block {
    char agent[STORE_AGENT_LEN]; /* "" : an operator at the manager */
    char id[STORE_ID_LEN];       /* unique with agent */
    struct sk_prefix target;
    int64_t created, expires;
    int64_t ended; /* 0: not yet (it may have run out) */
    char why[32];  /* ended: "unblocked", "lifted" ... */
    char origin[16], cause[16];
    int64_t sid, gid;
    int64_t score; /* 0 without; for ranking */
    int64_t repeat;
    char reason[STORE_TEXT_MAX];
};
/* A new block, or news of one that is there (a later end, a higher score). Ends only move away, and what has been ended
 * stays so. SK_EINVAL: a block of that name has another target. */
SK_MUST_USE int store_block_put(struct store *s, const struct store_block *b, int64_t now);
/* The agent's own only. SK_ENOENT. SK_OK also when it was ended before. */
SK_MUST_USE int store_block_end(struct store *s, const char *agent, const char *id, int64_t now, const char *why);
/* Every block in force of exactly this target, whoever set it. SK_ENOENT: none. *n: how many. */
SK_MUST_USE int store_unblock(struct store *s, const struct sk_prefix *target, int64_t now, const char *why,
                              unsigned *n);
typedef void store_block_fn(void *arg, const struct store_block *b);
/* Newest first. target, agent: NULL all; in_force: only those. before: created before that time; 0 from the newest. */
SK_MUST_USE int store_blocks(struct store *s, const struct sk_prefix *target, const char *agent, bool in_force,
                             int64_t before, unsigned limit, int64_t now, store_block_fn *fn, void *arg);

struct store_entry {
    struct sk_prefix target;
    int64_t seq;              /* of its last change */
    int64_t created, expires; /* expires 0: it has been lifted (not: it has run out) */
    char agent[STORE_AGENT_LEN], host[STORE_HOST_MAX], id[STORE_ID_LEN]; /* of the block that lasts longest */
    char origin[16], reason[STORE_TEXT_MAX];
    int64_t sid, gid;
    /* For ranking, of the 256 longest blocks: a change of these alone takes no number. */
    unsigned agents; /* that block it themselves; operators do not count */
    int64_t score, repeat;
    int64_t last; /* time of the latest news of it */
};
typedef void store_entry_fn(void *arg, const struct store_entry *e);
/* Those changed after `seq`, in the order of seq. Entries that have run out are not told, unless their end was moved
 * nearer after `seq`: then, as lifted ones (expires 0). Those are kept for a day (store_seq: first). */
SK_MUST_USE int store_entries_since(struct store *s, int64_t seq, unsigned limit, int64_t now, store_entry_fn *fn,
                                    void *arg);
/* All in force at now, in no order. */
SK_MUST_USE int store_entries(struct store *s, int64_t now, store_entry_fn *fn, void *arg);
SK_MUST_USE int store_entry_get(struct store *s, const struct sk_prefix *target, int64_t now, struct store_entry *out);
/* Number of the last change, the first number from which changes are still known (a reader at N with N + 1 < first
 * begins anew), and the name of this sequence (another database, another name). A database that was restored from a
 * copy has the old name and lower numbers: a reader beyond `last` begins anew too. */
SK_MUST_USE int store_seq(struct store *s, int64_t *last, int64_t *first, char epoch[STORE_SPOOL_LEN]);

/* The same, and the versions of the latest bundles, with one question: what the feed asks all the time. */
struct store_news {
    int64_t last, first, rules, policy;
    char epoch[STORE_SPOOL_LEN];
};
SK_MUST_USE int store_news(struct store *s, struct store_news *out);

/* ---- bundles ---- */

struct store_bundle {
    char kind[16];
    int64_t version, created;
    const char *payload;
    size_t len;
    uint8_t sig[64];
};
/* version must be greater than all before (SK_EEXIST). */
SK_MUST_USE int store_bundle_add(struct store *s, const struct store_bundle *b);
/* version 0: the latest. fn is called once. SK_ENOENT. */
typedef void store_bundle_fn(void *arg, const struct store_bundle *b);
SK_MUST_USE int store_bundle_get(struct store *s, const char *kind, int64_t version, store_bundle_fn *fn, void *arg);
/* 0: none yet. */
SK_MUST_USE int store_bundle_latest(struct store *s, const char *kind, int64_t *version);

/* ---- AWS WAF: what the writer must remember ---- */

/* Which entries of an IP set are ours: written down before they are sent. set: the writer's name of it. */
typedef void store_prefix_fn(void *arg, const struct sk_prefix *p);
SK_MUST_USE int store_waf_owned(struct store *s, const char *set, store_prefix_fn *fn, void *arg);
SK_MUST_USE int store_waf_own(struct store *s, const char *set, const struct sk_prefix *add, size_t nadd,
                              const struct sk_prefix *del, size_t ndel);
/* The sets in which something is ours. */
SK_MUST_USE int store_waf_sets(struct store *s, void (*fn)(void *arg, const char *set), void *arg);
/* Small texts by name: IDs of sets, the state that `waf status` shows. SK_ENOENT. The caller's (free). */
SK_MUST_USE int store_memo_set(struct store *s, const char *name, const char *text);
SK_MUST_USE int store_memo_get(struct store *s, const char *name, char **text);

/* ---- things to be sent: SNS, webhooks ---- */

struct store_out {
    int64_t id;
    char sink[64];
    int64_t created, next; /* next try */
    int attempts;
    const char *payload;
};
SK_MUST_USE int store_out_add(struct store *s, const char *sink, const char *payload, int64_t now);
/* Due ones of a sink, longest due first. */
typedef void store_out_fn(void *arg, const struct store_out *o);
SK_MUST_USE int store_out_due(struct store *s, const char *sink, int64_t now, unsigned limit, store_out_fn *fn,
                              void *arg);
SK_MUST_USE int store_out_done(struct store *s, int64_t id);
SK_MUST_USE int store_out_retry(struct store *s, int64_t id, int64_t next, const char *why);

/* ---- audit, retention ---- */

/* who: "operator:TOKEN-ID", "agent:ID", "local:USER", "manager". */
/* A text that is too long is cut. */
SK_MUST_USE int store_audit(struct store *s, int64_t now, const char *who, const char *what, const char *detail);
struct store_audit {
    int64_t id, time;
    char who[96], what[64], detail[STORE_TEXT_MAX];
};
typedef void store_audit_fn(void *arg, const struct store_audit *a);
/* Newest first; before: id, 0 from the newest. */
SK_MUST_USE int store_audits(struct store *s, int64_t before, unsigned limit, store_audit_fn *fn, void *arg);

struct store_keep {
    int64_t events, blocks, audit, agents; /* ms after which what is over is forgotten */
    int64_t events_most;                   /* events in all; the oldest go first */
};
/* Some of it, at most `most` rows; *more: call again. Also entries that are over, tokens long expired, outgoing things
 * of more than seven days. */
SK_MUST_USE int store_prune(struct store *s, const struct store_keep *k, int64_t now, unsigned most, bool *more);

#define STORE_SILENT_MS (5 * 60 * INT64_C(1000)) /* without a heartbeat for that long */
struct store_counts {
    int64_t agents, silent;  /* active ones; those of them that are silent */
    int64_t blocks, entries; /* in force */
    int64_t events;          /* from the oldest to the newest; those that went out of turn are counted */
    int64_t outgoing;
    int64_t bytes; /* of the database; -1 not known */
};
SK_MUST_USE int store_counts(struct store *s, int64_t now, struct store_counts *out);

#endif
