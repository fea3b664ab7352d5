/* Options of a verb, and the store that most verbs work on. One thread: the command's. */
#ifndef MANAGER_OPTIONS_H
#define MANAGER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include "settings.h"
#include "store/store.h"

#define OPTIONS_SETS  64
#define OPTIONS_NAMES 16 /* --name, --tag */
#define OPTIONS_WHO   80
#define LIST_LIMIT    100     /* of lists without --limit */
#define LIST_MOST     1000000 /* --limit */

struct options {
    const char *verb, *conf;
    const char *set[OPTIONS_SETS], *name[OPTIONS_NAMES], *tag[OPTIONS_NAMES];
    unsigned nset, nname, ntag;
    bool json, history, pem;
    const char *kind, *uses, *duration, *role, *note, *state, *target, *agent, *limit, *reason, *type, *after, *key;
    char **arg; /* what stands behind the options */
    int narg;

    struct settings *settings; /* options_settings */
    struct store *store;       /* options_store */
    char who[OPTIONS_WHO];     /* "local:USER", for the audit */
};

/* Letters of `which` beside -c and --set (see options.c); min..max arguments, max < 0 any number. An exit code. */
int options_parse(struct options *o, int argc, char **argv, const char *which, int min, int max);
/* Reads and checks the configuration. */
int options_settings(struct options *o);
/* The same, then the state folder's owner is become, and the store opened. */
int options_store(struct options *o);
/* options_parse and options_store. */
int options_open(struct options *o, int argc, char **argv, const char *which, int min, int max);
/* Frees what the others made. Hands rc on. */
int options_close(struct options *o, int rc);

/* The database failed: says why. Returns CLI_FAILED. */
int options_store_failed(const struct options *o);
/* --limit, else LIST_LIMIT. */
int options_limit(const struct options *o, unsigned *limit);
/* ADDR[/LEN], or a message. */
int options_prefix(const char *text, struct sk_prefix *out);
/* TIME into ms from now; "never" gives STORE_FOREVER where that is allowed. */
int options_until(const char *text, bool never, int64_t now_ms, int64_t *until_ms);
/* One of words, which end in NULL; option is its name in the message. NULL stands for the first. */
int options_word(const struct options *o, const char *option, const char *text, const char *const *words, int *index);
/* An agent by ID or, when only one in use has it, by host name. */
int options_agent(const struct options *o, const char *text, struct store_agent *out);
/* Wall ms. */
int64_t options_now(void);
/* Where the store is, as store_open takes it. buf of 4200. */
const char *options_store_where(const struct settings *s, char *buf);

#endif
