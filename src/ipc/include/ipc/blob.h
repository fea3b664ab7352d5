/*
 * Bytes in a sealed memfd, handed from one role to another: neither side can change, cut or grow them any more, so that
 * who maps them may take its time.
 */
#ifndef IPC_BLOB_H
#define IPC_BLOB_H

#include <stddef.h>
#include "base/err.h"

/* *fd is the caller's. SK_EIO. */
SK_MUST_USE int ipc_blob_make(const char *name, const void *p, size_t len, int *fd);
/* SK_EPROTO: not sealed, empty, or longer than max. The fd may be closed behind it. */
SK_MUST_USE int ipc_blob_map(int fd, size_t max, const void **p, size_t *len);
void ipc_blob_unmap(const void *p, size_t len);

#endif
