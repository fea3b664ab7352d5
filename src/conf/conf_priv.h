/* Inside of conf: the table of keys, and the reader that all three sources (YAML, --set, --vars) go through. */
#ifndef CONF_PRIV_H
#define CONF_PRIV_H

#include "base/arena.h"
#include "base/limits.h"
#include "conf/conf.h"

#define CONF_PATH_MAX  128 /* longest key path, with NUL */
#define CONF_SHOW_MAX  80  /* of a bad value in a finding; longer is cut */
#define CONF_ARENA_MAX ((size_t)16 << 20)

enum conf_type {
    CONF_T_BOOL,
    CONF_T_U32,
    CONF_T_SIZE32, /* bytes in a uint32_t */
    CONF_T_SIZE64,
    CONF_T_TIME,     /* ns in an int64_t; min and max are seconds */
    CONF_T_TEXT,     /* min 1: may not be empty */
    CONF_T_WORD,     /* one of words, as its index (an enum) */
    CONF_T_FLAGS,    /* list of words, as 1 << index in a uint32_t */
    CONF_T_LIST,     /* max: most entries; words: one that stands for the empty list, or NULL */
    CONF_T_PREFIXES, /* max: most entries */
    CONF_T_PORTS,    /* uint16_t[CONF_MAX_PORTS] */
    CONF_T_POLICY,   /* max: most entries; struct conf_policies */
    CONF_T_GROUPS,   /* mapping NAME: text */
};

struct conf_entry {
    const char *path;
    enum conf_type type;
    size_t off; /* in struct conf */
    uint64_t min, max;
    const char *def; /* as a person writes it */
    const char *const *words;
    const char *help;
};

struct conf_mark {
    const char *file; /* NULL: the default is in force */
    unsigned line, col;
};

struct conf_priv {
    struct sk_arena arena;
    struct conf_mark *mark; /* one an entry */
};

/* One text on its way into a configuration. */
struct conf_reader {
    struct conf *c;
    const struct sk_diag_sink *sink;
    const char *file;
    unsigned errors;
    int fatal; /* SK_ENOMEM when memory is out: nothing more is read */
    bool defaults;
};

struct conf_item {
    const char *text; /* in the arena */
    unsigned line, col;
};

struct conf_value {
    struct conf_item *item;
    uint32_t n;
    bool list; /* written as one */
    unsigned line, col;
};

/* table.c */
extern const struct conf_entry conf_table[];
extern const unsigned conf_table_len;
const struct conf_entry *conf_entry_find(const char *path);
/* path is a section: keys begin with it and a dot. */
bool conf_is_section(const char *path);
/* The table's own name of a Suricata alias, else key. */
const char *conf_alias(const char *key);
/* A Suricata key whose subject has no setting here, because it is always so: accepted and told. */
bool conf_is_inert(const char *key);
/* What the entry takes, in words. */
const char *conf_allowed(const struct conf_entry *e, char *buf, size_t cap);

/* suggest.c: the known key nearest to a path that is none, or NULL when nothing is near. */
const char *conf_suggest(const char *path);

/* value.c */
void conf_complain(struct conf_reader *r, unsigned line, unsigned col, const char *fmt, ...) SK_PRINTF(4, 5);
void conf_unknown_key(struct conf_reader *r, unsigned line, unsigned col, const char *path);
/* Parses into the field; on a finding the field keeps its value. */
void conf_store(struct conf_reader *r, const struct conf_entry *e, const struct conf_value *v);
/* One group, replaced when the name is known. */
void conf_store_group(struct conf_reader *r, const struct conf_entry *e, const char *name,
                      const struct conf_item *text);
/* Splits "a,b" or "[a,b]" at its outer commas. */
int conf_split(struct conf_reader *r, const char *text, struct conf_value *out);
char *conf_keep(struct conf_reader *r, const char *s, size_t len);

/* Does the type take a list? */
static inline bool conf_is_list(enum conf_type t)
{
    return t == CONF_T_FLAGS || t == CONF_T_LIST || t == CONF_T_PREFIXES || t == CONF_T_PORTS || t == CONF_T_POLICY;
}

/* policy.c: one entry of decide.policy. False: `why` (80 bytes) says what is wrong with it. */
bool conf_parse_policy(struct conf_reader *r, const char *text, struct conf_policy *out, char *why);

/* yaml.c */
void conf_read_yaml(struct conf_reader *r, const char *text, size_t len, bool vars_only);

#endif
