/* Listening sockets of this host alone; close-on-exec and non-blocking. errno is set on failure. */
#ifndef IPC_LISTEN_H
#define IPC_LISTEN_H

#include <sys/types.h>
#include "base/addr.h"
#include "base/err.h"

/*
 * A unix socket of mode 0660 and group gid (-1: as it is). A dead socket of that name is replaced; one that somebody
 * answers on is SK_EEXIST. SK_EINVAL: the path is too long; SK_EPERM, SK_EIO. The file is the caller's to remove.
 */
SK_MUST_USE int ipc_listen_path(const char *path, gid_t gid, int backlog, int *fd);
SK_MUST_USE int ipc_listen_port(const struct sk_addr *addr, uint16_t port, int backlog, int *fd);

#endif
