/*
 * Texts in a sealed memfd: the guard reads configuration and rule files, the engine parses them without being able to
 * open a file. Sealed against writing, growing and shrinking (memfd_create(2)), so that a mapping cannot change or
 * fault under its reader.
 */
#ifndef IPC_BUNDLE_H
#define IPC_BUNDLE_H

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define IPC_BUNDLE_MAX   (256u << 20) /* bytes; more is refused (SK_EFULL) */
#define IPC_BUNDLE_TEXTS 4096         /* texts; more are refused */

enum ipc_text_kind {
    IPC_TEXT_CONF, /* configuration file; at most one */
    IPC_TEXT_SET,  /* KEY=VALUE over it */
    IPC_TEXT_HOME, /* what HOME_NET "auto" stands for; at most one */
    IPC_TEXT_RULES,
    IPC_TEXT_CLASSES,
    IPC_TEXT_THRESHOLDS,
    IPC_TEXT_KINDS
};

struct ipc_text {
    enum ipc_text_kind kind;
    const char *name, *text; /* both NUL-terminated; the text may hold NULs of its own */
    size_t len;
};

struct ipc_bundle;

/* Builds. SK_EFULL, SK_EIO. */
SK_MUST_USE int ipc_bundle_create(struct ipc_bundle **out);
SK_MUST_USE int ipc_bundle_add(struct ipc_bundle *b, enum ipc_text_kind kind, const char *name, const char *text,
                               size_t len);
/* Seals; *fd is the caller's. Frees the builder, also on failure. */
SK_MUST_USE int ipc_bundle_seal(struct ipc_bundle *b, int *fd);

/* Maps and checks a sealed one; fd may be closed behind it. SK_EPROTO: not sealed, or its lengths are wrong. */
SK_MUST_USE int ipc_bundle_open(int fd, struct ipc_bundle **out);
unsigned ipc_bundle_count(const struct ipc_bundle *b);
/* i < count; borrowed from the bundle. */
struct ipc_text ipc_bundle_text(const struct ipc_bundle *b, unsigned i);
void ipc_bundle_free(struct ipc_bundle *b); /* NULL is fine */

#endif
