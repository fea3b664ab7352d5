/* What the configuration puts on the never-list; `run` and `replay` alike. */
#ifndef AGENT_NEVER_CONF_H
#define AGENT_NEVER_CONF_H

#include "conf/conf.h"
#include "decide/never.h"

/* Replaces the configured layer by never and the three lists of proxies. Errors as never_replace_static. */
SK_MUST_USE int never_from_conf(struct never_list *l, const struct conf *c, bool *changed);

#endif
