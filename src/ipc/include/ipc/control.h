/*
 * The command line talks to the guard over a unix stream socket: one JSON object there, one back, then the end.
 *
 *   | magic u32 "SKct" | len u32 | JSON text |
 *
 * The server never blocks on a client: bounded connections, bounded requests, a deadline each. Who asks is known from
 * the kernel (SO_PEERCRED); what they may do, the handler decides.
 */
#ifndef IPC_CONTROL_H
#define IPC_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

#define IPC_CONTROL_MAGIC      0x534b6374u
#define IPC_CONTROL_CLIENTS    16          /* at once; a further one waits in the listen queue */
#define IPC_CONTROL_OTHERS     12          /* of these by others than root; further ones are closed at once */
#define IPC_CONTROL_REQ_MAX    (64u << 10) /* bytes of a request; more: closed */
#define IPC_CONTROL_ANS_MAX    (256u << 20)
#define IPC_CONTROL_DEADLINE_S 10 /* to send the request, and to take the answer */

struct ipc_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

struct ipc_control;

/*
 * A whole request. Returns the answer (stolen), or NULL: ipc_control_answer(id) follows later. The client may be gone
 * by then.
 */
typedef json_t *ipc_control_fn(void *arg, uint64_t id, const struct ipc_peer *peer, const json_t *request);

/* Makes the socket, mode 0660, group gid (-1: as it is). A dead socket of that name is replaced; a living one is
 * SK_EEXIST. */
SK_MUST_USE int ipc_control_listen(const char *path, gid_t gid, ipc_control_fn *fn, void *arg,
                                   struct ipc_control **out);
/* Closes and removes the socket file. */
void ipc_control_free(struct ipc_control *c);
/* One descriptor for poll(2): readable when ipc_control_run has work. */
int ipc_control_fd(const struct ipc_control *c);
/* Does what can be done without blocking. now: monotonic ns. Call also once a second, for deadlines. */
void ipc_control_run(struct ipc_control *c, int64_t now);
/* Steals answer. */
void ipc_control_answer(struct ipc_control *c, uint64_t id, json_t *answer);

/*
 * The client's side, blocking. SK_ENOENT: nobody listens there; SK_EPERM; SK_EAGAIN: no answer in time; SK_EPROTO;
 * SK_EIO. *answer is the caller's.
 */
SK_MUST_USE int ipc_control_call(const char *path, const json_t *request, int timeout_s, json_t **answer);

#endif
