/* The keywords of the rule language, from the one table that the parser itself uses. Static; any thread. */
#ifndef RULES_KEYWORD_H
#define RULES_KEYWORD_H

#include <stdbool.h>

struct rule_keyword_info {
    const char *name;
    const char *help;
    bool supported; /* false: known, but a rule that uses it is rejected */
};

/* The i-th keyword in alphabetical order; false past the last. */
bool rule_keyword_list(unsigned i, struct rule_keyword_info *out);

#endif
