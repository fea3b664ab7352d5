/*
 * Administrators: from which addresses people have logged in to this host over SSH. Such an address is spared while the
 * session lasts and for ADMINS_LINGER after it was last seen, so that who logs out is not locked out a minute later.
 *
 *   admins_open → { admins_refresh | admins_watch_read }* → admins_close
 *
 * Only logins that have succeeded count; an attacker who tries passwords holds connections too. Two sources, neither of
 * which opens a connection or resolves a name:
 *   systemd-logind   sessions of service sshd with an address as remote host (sd-login(3))
 *   utmp(5)          user processes that live, by ut_addr_v6. Not by ut_host: through helpers like utempter(8) any
 *                    local user writes what he likes there. Knows sessions with a terminal only.
 *
 * Remembered over restarts in a small file of the state folder: "ADDRESS SECONDS USER" a line.
 * Owner: the guard; one thread. Times are wall clock ns.
 * Full policy: the address that was seen longest ago goes (admins_dropped). Records past ADMINS_RECORDS are not looked
 * at.
 */
#ifndef ENFORCE_ADMINS_H
#define ENFORCE_ADMINS_H

#include "base/clock.h"
#include "decide/never.h"

#define ADMINS_MAX     64                    /* addresses */
#define ADMINS_LINGER  (43200 * SK_NS_PER_S) /* 12 hours */
#define ADMINS_RECORDS 1024                  /* of utmp, and sessions of logind */
#define ADMINS_UTMP    "/run/utmp"
#define ADMINS_FILE    "administrators" /* in the state folder */

struct admins_setup {
    const char *utmp;  /* file; need not be there */
    bool logind;       /* ask it too */
    const char *state; /* file to remember in; NULL: nothing is remembered */
};

struct admins;

/* Reads what was remembered. The strings of s are copied. SK_ENOMEM. */
SK_MUST_USE int admins_open(const struct admins_setup *s, int64_t now, struct admins **out);
/* Remembers, frees. NULL is fine. */
void admins_close(struct admins *a, int64_t now);

/* Looks who is logged in now. True: addresses have come or gone. */
bool admins_refresh(struct admins *a, int64_t now);
/* For struct discover_what.extra; arg is the struct admins. */
void admins_spare(void *arg, struct never_list *l);

/* Readable when somebody logs in or out; -1 where that cannot be watched. */
int admins_watch_fd(const struct admins *a);
/* Drains it. True: refresh soon. */
bool admins_watch_read(struct admins *a);

unsigned admins_count(const struct admins *a);
/* Addresses that went because there were too many. */
uint64_t admins_dropped(const struct admins *a);

#endif
