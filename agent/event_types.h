/* Which kinds of events go where, as configured: masks of 1 << enum event_type. */
#ifndef AGENT_EVENT_TYPES_H
#define AGENT_EVENT_TYPES_H

#include "conf/conf.h"

/* To the EVE file. Events of blocks are always among them. */
uint32_t event_types_of_file(const struct conf *c);
/* To the manager. */
uint32_t event_types_of_manager(const struct conf *c);

#endif
