/* A policy file: YAML as sekisho.yaml, to the flat object of settings that a bundle holds. */
#ifndef MANAGER_POLICY_H
#define MANAGER_POLICY_H

#include <jansson.h>
#include "base/diag.h"

/* Each key is allowed in a policy, and its value one that an agent takes; else findings with place, and SK_EINVAL. */
SK_MUST_USE int policy_read(const char *name, const char *text, size_t len, const struct sk_diag_sink *sink,
                            json_t **out);

#endif
