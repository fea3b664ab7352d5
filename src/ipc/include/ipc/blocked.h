/*
 * Who is blocked, told by the guard to the engine: a set of prefixes with their ends, in shared memory. A direct client
 * who is blocked sends nothing any more; one who comes through a proxy does, in the proxy's packets, and the engine has
 * to know him by his request.
 *
 *   | header page: key, lengths in use | slot | slot | ...      slot, 32 bytes: seq | length | address | expiry
 *
 * Open addressing by a keyed hash of (address, length); the key is random, so that nobody can aim at one place. One
 * writer, any number of readers, no locks: the writer makes a slot's seq odd, changes the slot, makes it even; a reader
 * takes a slot only when seq was even and the same before and after, tries a bounded number of times, and goes on
 * without it. A look-up is one such search, of bounded length, for each prefix length in use.
 *
 * The memfd is sealed against resizing and, once the writer has its mapping, against every other writing
 * (F_SEAL_FUTURE_WRITE, Linux 5.1): who gets the descriptor can read and no more. A reader trusts no value in it as
 * index or length.
 *
 * Full policy: a prefix for which there is no place is not entered, and counted; it is blocked in the kernel all the
 * same.
 */
#ifndef IPC_BLOCKED_H
#define IPC_BLOCKED_H

#include "base/addr.h"

#define IPC_BLOCKED_SLOTS  (1u << 18) /* of the set that roles share: 8 MiB, touched as needed */
#define IPC_BLOCKED_MIN    64
#define IPC_BLOCKED_MAX    (1u << 24)
#define IPC_BLOCKED_PROBES 128 /* slots looked at in one search */
#define IPC_BLOCKED_TRIES  16  /* of a slot that is being changed */

struct ipc_blocked_writer;

/* slots: a power of two, MIN..MAX. *fd is the caller's. SK_EINVAL, SK_ENOMEM; SK_EIO: also before Linux 5.1. */
SK_MUST_USE int ipc_blocked_create(uint32_t slots, int *fd, struct ipc_blocked_writer **out);
void ipc_blocked_free(struct ipc_blocked_writer *w); /* NULL is fine; readers keep what there was */

/* Enters p, or moves its end (also to an earlier one). expires: wall clock ns. SK_EFULL: counted. */
SK_MUST_USE int ipc_blocked_put(struct ipc_blocked_writer *w, const struct sk_prefix *p, int64_t expires);
void ipc_blocked_remove(struct ipc_blocked_writer *w, const struct sk_prefix *p);
void ipc_blocked_clear(struct ipc_blocked_writer *w);
uint32_t ipc_blocked_count(const struct ipc_blocked_writer *w);
/* Times that there was no place. */
uint64_t ipc_blocked_refused(const struct ipc_blocked_writer *w);

/* The reading side. */
struct ipc_blocked;

/* fd may be closed behind it. SK_EPROTO: not such a memfd. SK_ENOMEM, SK_EIO. */
SK_MUST_USE int ipc_blocked_map(int fd, struct ipc_blocked **out);
void ipc_blocked_unmap(struct ipc_blocked *b); /* NULL is fine */
/* Is a in a prefix that is blocked at `now`? Any thread; never blocks. */
bool ipc_blocked_has(const struct ipc_blocked *b, const struct sk_addr *a, int64_t now);

#endif
