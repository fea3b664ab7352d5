/* The status of the agent as Prometheus reads it: exposition format 0.0.4, text. */
#ifndef AGENT_METRICS_H
#define AGENT_METRICS_H

#include <jansson.h>
#include "base/strbuf.h"

#define METRICS_MAX  (1u << 20) /* bytes of text, and of the JSON that it is made of; more is refused */
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* status: what `sekisho status --json` shows. SK_EFULL: out is too small. */
SK_MUST_USE int metrics_render(const json_t *status, struct sk_strbuf *out);

#endif
