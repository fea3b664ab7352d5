/* The tests of the store, the same on each database. */
#ifndef TESTS_STORE_SUITE_H
#define TESTS_STORE_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "inside.h"
#include "store/store.h"

#define T0 INT64_C(1800000000000) /* ms: when the tests take place */

struct bed {
    char where[512];
    int (*fresh)(void);   /* an empty database at `where` */
    void (*settle)(void); /* returns when the sessions of killed processes have ended; NULL: they end with them */
};
extern struct bed bed;
extern struct store *s; /* opened for each test */

int suite_setup(void **state);
int suite_teardown(void **state);
struct store *suite_open(void);
struct sk_prefix prefix(const char *text);
struct store_token token(const char *id, const char *hash, int64_t uses);
struct store_agent agent(const char *id, const char *instance);
/* The number that a statement gives. */
int64_t count(const char *sql);
void add_event(const char *agent_id, const char *type, int64_t time);
/* What is found, as a text that the next call overwrites. */
const char *events(const char *agent_id, const char *type, int64_t after, unsigned limit);
const char *due(const char *sink, int64_t now);
struct store_block block(const char *agent, const char *id, const char *target, int64_t created, int64_t expires);
void put(const char *agent, const char *id, const char *target, int64_t expires, int64_t now);
/* When the entry ends; 0: there is none. */
int64_t entry_end(const char *target, int64_t now);

int suite_calls(const char *name);
int suite_whole(const char *name);
int suite_blocks(const char *name);
int suite_many(const char *name);

#endif
