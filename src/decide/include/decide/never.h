/*
 * The never-list: what must not be blocked, whoever asks. A request is refused when its prefix overlaps an entry in any
 * address, and the entry that refused it is named. Three layers: built in (loopback, multicast, metadata service, ...),
 * static (configuration: set once), discovered (enforce/discover.h: replaced whole by never_begin .. never_commit).
 *
 * Owner: the guard; one thread. An entry pointer is valid until the next never_commit or never_add_static.
 * Full policy: a list that cannot hold everything refuses every block (entry of kind NEVER_OVERFLOW): a guard that does
 * not know whom to spare blocks nobody, and says why. So does one whose first discovery failed (NEVER_UNKNOWN), until
 * one succeeds.
 */
#ifndef DECIDE_NEVER_H
#define DECIDE_NEVER_H

#include <stddef.h>
#include "base/addr.h"

#define NEVER_MAX      16384 /* entries of all layers together */
#define NEVER_TEXT_MAX 64    /* longer text is cut */

/* X(identifier, "name in events") */
#define NEVER_KINDS(X)                                                                                                 \
    X(STATIC, "configured")                                                                                            \
    X(OWN, "own-address")                                                                                              \
    X(GATEWAY, "gateway")                                                                                              \
    X(RESOLVER, "resolver")                                                                                            \
    X(METADATA, "metadata-service")                                                                                    \
    X(LOOPBACK, "loopback")                                                                                            \
    X(UNSPECIFIED, "unspecified")                                                                                      \
    X(MULTICAST, "multicast")                                                                                          \
    X(BROADCAST, "broadcast")                                                                                          \
    X(LINK_LOCAL, "link-local")                                                                                        \
    X(MANAGER, "manager")                                                                                              \
    X(PROXY, "trusted-proxy")                                                                                          \
    X(ADMIN, "administrator")                                                                                          \
    X(LOCAL_NET, "local-network")                                                                                      \
    X(OVERFLOW, "never-list-full")                                                                                     \
    X(UNKNOWN, "not-known-yet")

enum never_kind {
#define X(id, name) NEVER_##id,
    NEVER_KINDS(X)
#undef X
        NEVER_KIND_COUNT
};

struct never_entry {
    struct sk_prefix prefix;
    enum never_kind kind;
    char text[NEVER_TEXT_MAX]; /* where it comes from: "eth0", "resolv.conf", "default route via eth0" */
};

struct never_list;

/* With the built-in entries. NULL without memory. */
struct never_list *never_create(void);
void never_free(struct never_list *l);

/* A configured entry, kept over refreshes. SK_EFULL or SK_ENOMEM: the list now refuses everything. */
SK_MUST_USE int never_add_static(struct never_list *l, enum never_kind kind, const struct sk_prefix *p,
                                 const char *text);

/*
 * Replaces the discovered layer. Between begin and commit never_check answers from the old one; never_abort (discovery
 * failed) leaves it in force; where there has been none yet, every block is refused from then on. never_add ignores an
 * entry that is there already. Returns as never_add_static.
 */
void never_begin(struct never_list *l);
int never_add(struct never_list *l, enum never_kind kind, const struct sk_prefix *p, const char *text);
/* True if the list changed: the enforcer must look at its blocks again (enforcer_never_changed). */
bool never_commit(struct never_list *l);
void never_abort(struct never_list *l);

/* The first entry that overlaps p, or NULL: p may be blocked. */
const struct never_entry *never_check(const struct never_list *l, const struct sk_prefix *p);

/* False while the list refuses everything, because it is full or not known yet. */
bool never_complete(const struct never_list *l);
/* For listing: i in 0 .. never_count-1. */
size_t never_count(const struct never_list *l);
const struct never_entry *never_at(const struct never_list *l, size_t i);
const char *never_kind_name(enum never_kind k);

#endif
