/*
 * What the AWS WAF writer needs of the world (waf/waf.h), over the store and AWS; and a copy of what is in the sets, so
 * that others can ask where an address is without waiting for the writer's calls.
 *
 * A struct world belongs to one thread but for world_where, which any thread may call.
 */
#ifndef MANAGER_WORLD_H
#define MANAGER_WORLD_H

#include <pthread.h>
#include "settings.h"
#include "store/store.h"

#define WORLD_SETS (SETTINGS_RECORDS_MAX * WAF_SETS_MAX)

struct world_set { /* guard: lock */
    enum wafv2_scope scope;
    char region[32], name[WAFV2_NAME_MAX + 1];
    struct sk_prefix *addr;
    size_t n;
};

struct world {
    struct store *store;
    struct aws *aws;
    const struct waf_options *options;
    bool leads;          /* false: nothing is ever written */
    uint64_t seq;        /* last number that entries were at */
    bool quiet;          /* notes are not logged and not audited: a command prints them itself */
    bool paced;          /* reads wait until AWS allows them: for a command, which has nothing else to do */
    int64_t read_at;     /* monotonic: the last one that has waited so */
    int64_t audit_since; /* monotonic: evictions that the audit has of this while */
    unsigned audited;
    pthread_mutex_t lock;
    struct world_set *sets;
    unsigned nsets;
};

/* Options of the writer from the configuration; regions that it does not name are this instance's. The lists in it are
 * the caller's: free targets and never. why: text. */
SK_MUST_USE int world_options(const struct settings *s, struct aws *aws, struct waf_options *out, char *why,
                              size_t cap);
SK_MUST_USE int world_aws(const struct settings *s, struct aws **out);
void world_options_free(struct waf_options *o);

SK_MUST_USE int world_open(struct world *w, struct store *store, struct aws *aws, const struct waf_options *o);
void world_close(struct world *w);
/* A writer on this world. */
SK_MUST_USE int world_waf(struct world *w, struct waf **out);
/* Waits, when paced, until the next read may be made. */
void world_pace(struct world *w);
/* The number that moves when entries change. */
uint64_t world_changed(void *world);
/* As api_waf wants it: JSON array of the sets that hold target, alone or in a wider one; NULL: none. */
char *world_where(void *world, const struct sk_prefix *target);
/* Not the writer: what the store says the writer has put there. */
void world_copy_owned(struct world *w);
/* The writer's state for people and for the API. */
SK_MUST_USE int world_status(const struct waf *waf, const struct waf_options *o, const char *manager, int64_t now,
                             char **json);

#endif
