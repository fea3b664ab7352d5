/* Inside of settings: the table of keys, and what turns a node of YAML into a field. */
#ifndef MANAGER_SETTINGS_PRIV_H
#define MANAGER_SETTINGS_PRIV_H

#include <yaml.h>
#include "base/arena.h"
#include "settings.h"

#define SETTINGS_KEY_MAX 64 /* longest path of a key, with NUL */
#define SETTINGS_ARENA   ((size_t)16 << 20)

enum settings_type {
    SET_BOOL,
    SET_U32,      /* min..max */
    SET_TIME,     /* ns; min and max in ms; words: one word that stands for 0, or NULL */
    SET_TEXT,     /* const char *, at most max bytes */
    SET_BUFFER,   /* char[max + 1], at least min bytes */
    SET_WORD,     /* one of words, as its index, in an int */
    SET_LIST,     /* struct settings_list, at most max entries */
    SET_PREFIXES, /* struct settings_prefixes, at most max entries */
    SET_RECORDS,  /* pointer to an array of records and, at count_off, their number */
};

struct settings_entry {
    const char *path; /* within a record: one name */
    enum settings_type type;
    size_t off;
    uint64_t min, max;
    const char *def; /* as a person writes it */
    const char *const *words;
    const char *help;
    /* SET_RECORDS */
    const struct settings_entry *fields;
    unsigned nfields;
    size_t size, count_off;
};

struct settings_mark { /* where a key was given; file NULL: the default is in force */
    const char *file;
    unsigned line, col;
};

struct settings_priv {
    struct sk_arena arena;
    struct settings_mark *mark; /* one an entry */
};

/* One text on its way in. */
struct settings_reader {
    struct settings *s;
    const struct sk_diag_sink *sink;
    const char *file;                 /* in the arena, or static */
    yaml_document_t doc;              /* while one is read */
    const struct settings_entry *set; /* --set: the key */
    unsigned errors;
    int fatal;  /* SK_ENOMEM: nothing more is read */
    bool place; /* findings have line and column */
};

/* settings_table.c */
extern const struct settings_entry settings_table[];
extern const unsigned settings_table_len;
const struct settings_entry *settings_find(const struct settings_entry *t, unsigned n, const char *path);
bool settings_is_section(const char *path);
/* The known key or section nearest to a path that is none, into buf; NULL when nothing is near. */
const char *settings_suggest(const struct settings_entry *t, unsigned n, const char *path, char *buf);
const char *settings_allowed(const struct settings_entry *e, char *buf, size_t cap);

/* settings_value.c */
void settings_complain(struct settings_reader *r, const yaml_node_t *at, const char *fmt, ...) SK_PRINTF(3, 4);
void settings_unknown(struct settings_reader *r, const yaml_node_t *at, const struct settings_entry *t, unsigned n,
                      const char *prefix, const char *path);
void *settings_alloc(struct settings_reader *r, size_t size);
/* Into the field; on a finding the field keeps its value. base: what e->off counts from. */
void settings_store(struct settings_reader *r, const struct settings_entry *e, void *base, const yaml_node_t *v);
/* The default of each entry. */
void settings_defaults(struct settings_reader *r, const struct settings_entry *t, unsigned n, void *base);

#endif
