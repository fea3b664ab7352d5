/* What a block was decided on, as JSON text for the journal. Only for journal.c. */
#ifndef ENFORCE_JOURNAL_JSON_H
#define ENFORCE_JOURNAL_JSON_H

#include "enforce/blocktable.h"

/* Text for free(3); NULL: there is nothing to say, or no memory for it. */
char *journal_identity_text(const struct block *b);
char *journal_scores_text(const struct block *b);
char *journal_fleet_text(const struct block *b);
/* text may be NULL. The file is ours, but what makes no sense in it must not come back: then q stays as it was. */
void journal_identity_read(const char *text, struct decide_request *q);
void journal_scores_read(const char *text, struct decide_request *q);

/* False: the text says nothing, or makes no sense. */
bool journal_fleet_read(const char *text, struct block_fleet *f);

#endif
