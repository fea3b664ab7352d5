#include "rules/buffer.h"

const struct rule_buf_info rule_buf_info[RULE_BUF_COUNT] = {
#define X(id, nm, leg, d, b, m) [RULE_BUF_##id] = {.name = nm, .legacy = leg, .dir = d, .body = b, .multi = m},
    RULE_BUFFERS(X)
#undef X
};
