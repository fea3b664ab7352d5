/*
 * Messages of a role to standard error (systemd takes them to the journal). Never called on the packet path.
 * Text from outside must pass through sk_escape first.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

enum sk_log_level { SK_LOG_ERROR, SK_LOG_WARN, SK_LOG_INFO, SK_LOG_DEBUG };

/* name is kept by reference. journal: prefix each line with <N> as sd-daemon(3) wants. */
void sk_log_setup(const char *name, enum sk_log_level level, int journal);
void sk_log(enum sk_log_level level, const char *fmt, ...) SK_PRINTF(2, 3);

#endif
