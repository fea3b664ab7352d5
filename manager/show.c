#include "show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"
#include "base/clock.h"
#include "base/escape.h"
#include "base/strbuf.h"
#include "store/store.h"

#define CELL_MAX 2200 /* longest cell of a table: a heartbeat's status */

json_t *show_ms(int64_t ms)
{
    return ms == STORE_FOREVER ? json_null() : json_integer(ms);
}

json_t *show_prefix(const void *prefix)
{
    char buf[SK_PREFIX_STRLEN];
    return json_string(sk_prefix_format(prefix, buf));
}

json_t *show_nested(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);
    return j != NULL ? j : json_object();
}

json_t *show_string(const char *s)
{
    char buf[1024];
    json_t *j = json_string(s);
    return j != NULL ? j : json_string(sk_escape(buf, sizeof(buf), sk_span_str(s)));
}

static void time_cell(int64_t ms, char *buf)
{
    char iso[40];
    sk_time_format(ms * SK_NS_PER_MS, iso);
    snprintf(buf, CELL_MAX, "%.10s %.8s", iso, iso + 11);
}

static void span_cell(int64_t ms, char *buf)
{
    char span[32];
    if (ms <= 0)
        strcpy(buf, "-");
    else
        snprintf(buf, CELL_MAX, "%s", sk_duration_format((ms + 999) / 1000, span));
}

static void text_cell(const json_t *v, const struct show_column *c, char *buf)
{
    char *dumped = json_is_string(v) || v == NULL ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *s = json_is_string(v) ? json_string_value(v) : dumped != NULL ? dumped : "";
    size_t cap = c->most > 0 ? (size_t)c->most + 1 : CELL_MAX;
    sk_escape(buf, cap < 8 ? 8 : cap, sk_span_str(s));
    free(dumped);
}

static void cell(const json_t *row, const struct show_column *c, int64_t now_ms, char *buf)
{
    const json_t *v = json_object_get(row, c->key);
    int64_t n = json_integer_value(v);
    strcpy(buf, "-");
    switch (c->kind) {
    case SHOW_TEXT: text_cell(v, c, buf); break;
    case SHOW_NUMBER:
        if (json_is_integer(v))
            snprintf(buf, CELL_MAX, "%lld", (long long)n);
        break;
    case SHOW_TIME:
        if (json_is_null(v))
            strcpy(buf, "never");
        else if (n > 0)
            time_cell(n, buf);
        break;
    case SHOW_LEFT:
        if (json_is_null(v))
            strcpy(buf, "never");
        else
            span_cell(n - now_ms, buf);
        break;
    case SHOW_AGO:
        if (n > 0)
            span_cell(now_ms > n ? now_ms - n : 1, buf);
        break;
    }
}

static void measure(const json_t *rows, const struct show_column *c, unsigned n, int64_t now_ms, size_t *width)
{
    size_t i;
    char buf[CELL_MAX];
    json_t *row;
    for (unsigned k = 0; k < n; k++)
        width[k] = strlen(c[k].title);
    json_array_foreach(rows, i, row)
    {
        for (unsigned k = 0; k < n; k++) {
            cell(row, &c[k], now_ms, buf);
            width[k] = strlen(buf) > width[k] ? strlen(buf) : width[k];
        }
    }
}

/* The last column is not padded. */
static void print_cell(const char *s, const struct show_column *c, size_t width, bool last)
{
    if (c->kind == SHOW_NUMBER)
        printf("%*s%s", (int)width, s, last ? "\n" : "  ");
    else
        printf("%-*s%s", last ? 0 : (int)width, s, last ? "\n" : "  ");
}

static void print_table(const json_t *rows, const struct show_column *c, unsigned n, int64_t now_ms)
{
    size_t width[16], i;
    char buf[CELL_MAX];
    json_t *row;
    measure(rows, c, n, now_ms, width);
    for (unsigned k = 0; k < n; k++)
        print_cell(c[k].title, &c[k], width[k], k + 1 == n);
    json_array_foreach(rows, i, row)
    {
        for (unsigned k = 0; k < n; k++) {
            cell(row, &c[k], now_ms, buf);
            print_cell(buf, &c[k], width[k], k + 1 == n);
        }
    }
}

static void print_json(json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(j);
}

void show_rows(json_t *rows, bool as_json, const struct show_column *c, unsigned n, int64_t now_ms, const char *none)
{
    if (as_json) {
        print_json(rows);
        return;
    }
    if (json_array_size(rows) == 0)
        puts(none);
    else
        print_table(rows, c, n, now_ms);
    json_decref(rows);
}

void show_object(json_t *o, bool as_json, const struct show_column *c, unsigned n, int64_t now_ms)
{
    char buf[CELL_MAX];
    if (as_json) {
        print_json(o);
        return;
    }
    for (unsigned k = 0; k < n; k++) {
        cell(o, &c[k], now_ms, buf);
        printf("%-16s %s\n", c[k].title, buf);
    }
    json_decref(o);
}
