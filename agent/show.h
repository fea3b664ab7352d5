/* Answers of the agent as text for people. Values were escaped by the agent. */
#ifndef AGENT_SHOW_H
#define AGENT_SHOW_H

#include <jansson.h>

void show_status(const json_t *status);
void show_blocks(const json_t *blocks);
void show_block(const json_t *block);    /* explain */
void show_blocked(const json_t *answer); /* answer to `block` */

#endif
