/*
 * The texts that a command reads: rule files (with globs), classification and threshold files. Read whole, by whoever
 * may open files; the engine sees bytes and names only.
 */
#ifndef AGENT_INPUTS_H
#define AGENT_INPUTS_H

#include "engine/engine.h"

#define INPUTS_MAX_FILE  (64u << 20) /* bytes of one file; a larger one is refused */
#define INPUTS_MAX_FILES 4096
#define INPUTS_MAX_TOTAL (256u << 20) /* bytes of all files together */

struct inputs {
    struct engine_text *v;
    unsigned n, cap;
    size_t total;
    bool regular_only; /* no pipes and devices: reading must not wait (the guard) */
};

/*
 * `rules`: files and globs of -S; none: the configuration's rule-files. A name that matches nothing is an error when it
 * was given with -S, a warning when it comes from the configuration. Returns SK_OK, or an error that has been reported
 * to `diag`.
 */
SK_MUST_USE int inputs_read(struct inputs *in, const struct conf *conf, const char *const *rules, unsigned nrules,
                            const struct sk_diag_sink *diag);
void inputs_free(struct inputs *in);

/* One whole file, NUL behind it; NULL with errno set (EFBIG: over max). The caller frees. */
char *inputs_read_file(const char *path, size_t max, size_t *len);
/* The same of a regular file only; else NULL with errno ENOTSUP or EISDIR. Never waits for a writer. */
char *inputs_read_regular(const char *path, size_t max, size_t *len);
/* strerror, but for what only these functions mean. */
const char *inputs_strerror(int err);

#endif
