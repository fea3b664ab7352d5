/* Lists of JSON objects, printed as they are or as a table for people. */
#ifndef MANAGER_SHOW_H
#define MANAGER_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum show_kind {
    SHOW_TEXT,   /* escaped; cut at `most` characters */
    SHOW_NUMBER, /* "-" when it is not there */
    SHOW_TIME,   /* ms since the epoch, as UTC */
    SHOW_LEFT,   /* the same, as the time until then; "-" when it is over, "never" */
    SHOW_AGO,    /* the same, as the time since then */
};
struct show_column {
    const char *title, *key;
    enum show_kind kind;
    int most; /* SHOW_TEXT: 0 no limit */
};

/* rows: array of objects; steals it. none: said when it is empty. */
void show_rows(json_t *rows, bool as_json, const struct show_column *c, unsigned n, int64_t now_ms, const char *none);
/* One object: `KEY: value` lines, or JSON; steals it. */
void show_object(json_t *o, bool as_json, const struct show_column *c, unsigned n, int64_t now_ms);
/* STORE_FOREVER becomes null. */
json_t *show_ms(int64_t ms);
json_t *show_prefix(const void *prefix); /* struct sk_prefix */
/* Text that is JSON, as JSON; {} when it is none. */
json_t *show_nested(const char *text);
/* Of bytes that may be no UTF-8. */
json_t *show_string(const char *s);

#endif
