/* Answers of the agent as text for people. Values were escaped by the agent. */
#ifndef AGENT_SHOW_H
#define AGENT_SHOW_H

#include <jansson.h>
#include <stdbool.h>

void show_status(const json_t *status);
/* Another program is installed than the one that says this. */
bool show_restart_due(const json_t *status);
void show_block(const json_t *block);    /* explain */
void show_blocked(const json_t *answer); /* answer to `block` */
void show_brake(const json_t *brake);

/* show.c, for the others of its kind */
const json_t *show_at(const json_t *o, const char *key);
long long show_num(const json_t *o, const char *key);
const char *show_str(const json_t *o, const char *key); /* "" when it is missing */
const char *show_bytes(long long n, char buf[24]);
const char *show_span(long long seconds, char buf[32]);

#endif
