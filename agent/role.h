/*
 * What the roles other than the guard have in common: they are this executable again, started by the guard with
 * descriptors in known places, and give up every privilege before they read a byte that an attacker could have written.
 */
#ifndef AGENT_ROLE_H
#define AGENT_ROLE_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"
#include "ipc/message.h"

/* Inherited descriptors. */
enum { ROLE_FD_CHANNEL = 3, ROLE_FD_BLOCKS = 4 };

#define ROLE_FILES_MAX 4096 /* descriptors: sockets of every interface and worker; a power of two */

enum role_kind { ROLE_ENGINE, ROLE_REPORTER, ROLE_EXPORTER, ROLE_UPLINK };

/*
 * argv of a role: VERB UID GID GUARD-PID FOLDER. Changes to that user without capabilities, sets no_new_privs,
 * undumpable, umask, resource limits, death with the guard, which files it can open (role_files.c; of the uplink those
 * of FOLDER), and the system call filter (sandbox.c). SK_OK, or an error that has been logged. *confined: files are.
 */
SK_MUST_USE int role_enter(enum role_kind kind, int argc, char **argv, bool *confined);

/* Landlock's version in this kernel; 0: it has none, or lets us not have it. */
int role_files_version(void);

/*
 * From now on the role opens no file but what it needs; no way back. false: the kernel cannot do that, and it goes on
 * with users, modes and the filter alone.
 */
bool role_files_enter(enum role_kind kind, const char *folder);

/*
 * The filter: an allow-list. What only an attack would call (execve, socket, ptrace, mount ...) kills the process;
 * every other call that is not listed fails with EPERM, so that a library that asks a file for a hint goes on without
 * it.
 */
SK_MUST_USE int sandbox_enter(enum role_kind kind);

/* Its rules, put into a libseccomp filter of any architecture, whose other calls shall fail. 0 or -errno. */
SK_MUST_USE int sandbox_rules(enum role_kind kind, void *filter);

/*
 * How soon a process gets a processor that others want too. The urgent ones, guard and engine, do little at a time and
 * are waited for: they ask for short slices, which lets them in earlier for the same share of the processor (EEVDF,
 * Linux 6.12). The unhurried ones go behind what the server itself has to do. Children inherit it.
 */
void role_urgent(void);
void role_unhurried(void);

#endif
