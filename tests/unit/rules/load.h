/* Loads rule text for a test and keeps what the loader says. */
#ifndef TESTS_RULES_LOAD_H
#define TESTS_RULES_LOAD_H

#include "rules/rule.h"

struct loaded {
    const struct rule_set *set;
    int rejected;
    char said[4096]; /* "line:col: level: text\n" each, level E(rror) W(arning) N(ote) U(nsupported) */
};

/* thresholds and classes may be NULL. */
struct loaded load_all(const char *rules, const char *thresholds, const char *classes);
struct loaded load(const char *rules);
/* One good rule, nothing said; fails the test otherwise. */
struct loaded load_one(const char *rule);
void unload(struct loaded *l);

#endif
