/*
 * A list of blocks, sorted and shown. Of each block no more is kept than is shown of it: there may be a hundred
 * thousand, on a machine that has other things to do.
 */
#ifndef AGENT_SHOW_LIST_H
#define AGENT_SHOW_LIST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Each ascending, so that what has most of it stands last, where the reader's eye is. */
enum show_order { SHOW_CREATED, SHOW_LEFT, SHOW_HITS, SHOW_TARGET, SHOW_ENDED };

struct show_row;
struct show_list {
    enum show_order order;
    size_t limit;    /* the last so many of that order are shown */
    bool limit_said; /* by the user, who need not be told of more */
    bool history;    /* blocks that have ended */
    bool dry_run;
    bool as_json;
    struct show_row *row; /* private, as the rest */
    size_t n, cap;
};

/* What the agent said of a block. False: no memory. */
bool show_list_add(struct show_list *l, const json_t *block);
void show_list_print(struct show_list *l);
void show_list_free(struct show_list *l);

#endif
