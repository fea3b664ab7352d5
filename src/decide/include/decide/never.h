/*
 * The never-list: what must not be blocked, whoever asks. A request is refused when its prefix overlaps an entry in any
 * address, and the entry that refused it is named. Three layers: built in (loopback, multicast, metadata service, ...),
 * static (configuration: replaced whole by never_replace_static), discovered (enforce/discover.h: replaced whole by
 * never_begin .. never_commit).
 *
 * Owner: the guard; one thread. An entry pointer is valid until the next never_commit, never_add_static or
 * never_replace_static.
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

/*
 * X(identifier, "name in events"), the most telling first: of several entries that overlap a target a refusal names the
 * one of the first kind here, and of one kind the narrowest.
 */
#define NEVER_KINDS(X)                                                                                                 \
    X(OWN, "own-address")                                                                                              \
    X(GATEWAY, "gateway")                                                                                              \
    X(METADATA, "metadata-service")                                                                                    \
    X(RESOLVER, "resolver")                                                                                            \
    X(MANAGER, "manager")                                                                                              \
    X(PROXY, "trusted-proxy")                                                                                          \
    X(STATIC, "configured")                                                                                            \
    X(ADMIN, "administrator")                                                                                          \
    X(LOOPBACK, "loopback")                                                                                            \
    X(UNSPECIFIED, "unspecified")                                                                                      \
    X(BROADCAST, "broadcast")                                                                                          \
    X(MULTICAST, "multicast")                                                                                          \
    X(LINK_LOCAL, "link-local")                                                                                        \
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

/* One more configured entry. SK_EFULL or SK_ENOMEM: the list now refuses everything. */
SK_MUST_USE int never_add_static(struct never_list *l, enum never_kind kind, const struct sk_prefix *p,
                                 const char *text);
/*
 * The configured layer anew: what e does not name may be blocked again. e is copied; an entry that is there twice
 * counts once. *changed (may be NULL) as never_commit. SK_EFULL, SK_ENOMEM: the old entries stay, and the list refuses
 * everything until a call succeeds.
 */
SK_MUST_USE int never_replace_static(struct never_list *l, const struct never_entry *e, size_t n, bool *changed);
/* Fills a value for never_replace_static; text is cut, and may be NULL. */
void never_entry_set(struct never_entry *e, enum never_kind kind, const struct sk_prefix *p, const char *text);

/*
 * Replaces the discovered layer. Between begin and commit never_check answers from the old one; never_abort (discovery
 * failed) leaves it in force; where there has been none yet, every block is refused from then on. never_add ignores an
 * entry of that kind that is there already. Returns as never_add_static.
 */
void never_begin(struct never_list *l);
int never_add(struct never_list *l, enum never_kind kind, const struct sk_prefix *p, const char *text);
/* True if the list changed: the enforcer must look at its blocks again (enforcer_never_changed). */
bool never_commit(struct never_list *l);
void never_abort(struct never_list *l);

/* The most telling entry that overlaps p, or NULL: p may be blocked. */
const struct never_entry *never_check(const struct never_list *l, const struct sk_prefix *p);
/* Does an entry of that very kind hold a? */
bool never_has(const struct never_list *l, enum never_kind kind, const struct sk_addr *a);

/* False while the list refuses everything, because it is full or not known yet. */
bool never_complete(const struct never_list *l);
/* For listing: i in 0 .. never_count-1. */
size_t never_count(const struct never_list *l);
const struct never_entry *never_at(const struct never_list *l, size_t i);
const char *never_kind_name(enum never_kind k);

#endif
