#include "show_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"
#include "show.h"

#define TIME_LEN 40 /* of base/clock.h */

struct show_row {
    struct sk_prefix prefix;
    char target[SK_PREFIX_STRLEN], id[16], time[TIME_LEN]; /* time: what the order goes by */
    long long hits, left;
    char *text; /* JSON, or the end of the line */
};

static long long hits(const json_t *b)
{
    const json_t *nft = show_at(b, "nft");
    return show_num(nft != NULL ? nft : show_at(b, "hits"), "packets");
}

/* What stands behind the numbers: whose block it is, and why. */
static char *rest_of_line(const struct show_list *l, const json_t *b)
{
    const char *dry = l->history && json_is_true(show_at(b, "dry_run")) ? "(dry run) " : "";
    const char *ended = l->history ? show_str(b, "ended") : "", *why = l->history ? show_str(b, "ended_why") : "";
    char *text = NULL;
    int n = l->history ? asprintf(&text, "%-19.19s  %-10s %8lld  %-8s  %s%s", ended, why, hits(b),
                                  show_str(b, "origin"), dry, show_str(b, "reason"))
                       : asprintf(&text, "%8lld  %-8s  %s", hits(b), show_str(b, "origin"), show_str(b, "reason"));
    return n >= 0 ? text : NULL;
}

/* Times are written so that their text sorts as they do. */
static const char *time_of(const struct show_list *l, const json_t *b)
{
    return show_str(b, l->order == SHOW_ENDED ? "ended" : l->order == SHOW_LEFT ? "expires" : "created");
}

bool show_list_add(struct show_list *l, const json_t *b)
{
    if (l->n == l->cap) {
        size_t cap = l->cap != 0 ? l->cap * 2 : 256;
        struct show_row *row = realloc(l->row, cap * sizeof(*row));
        if (row == NULL)
            return false;
        l->row = row;
        l->cap = cap;
    }
    struct show_row *r = &l->row[l->n];
    memset(r, 0, sizeof(*r));
    snprintf(r->target, sizeof(r->target), "%s", show_str(b, "target"));
    snprintf(r->id, sizeof(r->id), "%s", show_str(b, "id"));
    snprintf(r->time, sizeof(r->time), "%s", time_of(l, b));
    r->hits = hits(b);
    r->left = show_num(b, "seconds_left");
    if (sk_prefix_parse(r->target, strlen(r->target), true, &r->prefix) != SK_OK)
        r->prefix = (struct sk_prefix){0};
    r->text = l->as_json ? json_dumps(b, JSON_INDENT(2)) : rest_of_line(l, b);
    l->n += r->text != NULL;
    return r->text != NULL;
}

void show_list_free(struct show_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->row[i].text);
    free(l->row);
    l->row = NULL;
    l->n = l->cap = 0;
}

static int by_target(const void *x, const void *y)
{
    const struct show_row *a = x, *b = y;
    int d = sk_addr_cmp(&a->prefix.addr, &b->prefix.addr);
    return d != 0 ? d : (int)a->prefix.len - (int)b->prefix.len;
}

static int by_time(const void *x, const void *y)
{
    const struct show_row *a = x, *b = y;
    int d = strcmp(a->time, b->time);
    return d != 0 ? d : by_target(x, y);
}

static int by_hits(const void *x, const void *y)
{
    const struct show_row *a = x, *b = y;
    return a->hits != b->hits ? (a->hits > b->hits) - (a->hits < b->hits) : by_time(x, y);
}

static void print_json(const struct show_row *v, size_t n)
{
    puts("[");
    for (size_t i = 0; i < n; i++)
        printf("%s%s\n", v[i].text, i + 1 < n ? "," : "");
    puts("]");
}

static void print_text(const struct show_list *l, const struct show_row *v, size_t n)
{
    char t[32];
    int wide = (int)strlen("TARGET");
    for (size_t i = 0; i < n; i++)
        wide = (int)strlen(v[i].target) > wide ? (int)strlen(v[i].target) : wide;
    if (l->dry_run && !l->history)
        puts("DRY RUN: nobody is blocked");
    if (n == 0)
        puts(l->history ? "none has ended" : "nothing is blocked");
    else if (l->history)
        printf("%-14s  %-*s  %-19s  %-10s %8s  %-8s  %s\n", "ID", wide, "TARGET", "ENDED (UTC)", "WHY", "PACKETS", "BY",
               "REASON");
    else
        printf("%-14s  %-*s  %-7s %8s  %-8s  %s\n", "ID", wide, "TARGET", "LEFT", "PACKETS", "BY", "REASON");
    for (size_t i = 0; i < n; i++)
        if (l->history)
            printf("%-14s  %-*s  %s\n", v[i].id, wide, v[i].target, v[i].text);
        else
            printf("%-14s  %-*s  %-7s %s\n", v[i].id, wide, v[i].target, show_span(v[i].left, t), v[i].text);
}

void show_list_print(struct show_list *l)
{
    int (*compare)(const void *, const void *) = l->order == SHOW_TARGET ? by_target
                                                 : l->order == SHOW_HITS ? by_hits
                                                                         : by_time;
    if (l->n > 0)
        qsort(l->row, l->n, sizeof(l->row[0]), compare);
    size_t skip = l->n > l->limit ? l->n - l->limit : 0;
    if (l->as_json)
        print_json(l->row + skip, l->n - skip);
    else
        print_text(l, l->row + skip, l->n - skip);
    if (skip > 0 && !l->limit_said)
        fputs("sekisho: there are more; --limit says how many are shown\n", stderr);
}
