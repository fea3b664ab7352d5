/*
 * The guard: the one role that keeps its privileges, and therefore parses nothing that comes from the network. It opens
 * what the others need, hands it to them, restarts them, and alone changes the firewall.
 *
 *   guard.c         start, main loop, stop          guard_iface.c    interfaces and their capture sockets
 *   guard_child.c   the roles: start, watch, kill   guard_block.c    block requests to nftables
 *   guard_load.c    configuration and rules         guard_control.c  answers to the command line
 *
 * One thread. Everything in struct guard belongs to it.
 */
#ifndef AGENT_GUARD_H
#define AGENT_GUARD_H

#include <jansson.h>
#include <net/if.h>
#include "conf/conf.h"
#include "decide/never.h"
#include "enforce/enforcer.h"
#include "ipc/control.h"
#include "ipc/message.h"
#include "ipc/status.h"

#define GUARD_RING_SIZE   (4u << 20) /* bytes of one event ring */
#define GUARD_ARGS_MAX    64         /* -S and --set options */
#define GUARD_RESTART_MIN (SK_NS_PER_S / 10)
#define GUARD_RESTART_MAX (30 * SK_NS_PER_S)
#define GUARD_STEADY      (60 * SK_NS_PER_S)  /* a role that lived that long begins again with the shortest wait */
#define GUARD_STUCK       (15 * SK_NS_PER_S)  /* without a heartbeat: killed */
#define GUARD_LOAD_TIME   (300 * SK_NS_PER_S) /* for the first load of rules */
#define GUARD_STOP_TIME   (5 * SK_NS_PER_S)
#define GUARD_GONE_TIME   (2 * SK_NS_PER_S)  /* between the end of a role's channel and its own */
#define GUARD_SAY_EVERY   (10 * SK_NS_PER_S) /* lines of the log that others can cause */
#define GUARD_SAY_BLOCKS  200                /* lines about new blocks within that time */
#define GUARD_LOOK_EVERY  (SK_NS_PER_S / 5)  /* looks at addresses and interfaces, however much changes */
#define GUARD_HOME_RETRY  (10 * SK_NS_PER_S) /* between loads for new addresses, however often those change */
#define GUARD_FILES       16384              /* descriptors: SK_MAX_INTERFACES * SK_MAX_WORKERS sockets, and others */
#define GUARD_BLOCK_BATCH 1024               /* requests taken before they go to the kernel */

struct guard_options {
    const char *conf_path;                                    /* NULL: CLI_CONF_PATH if it is there */
    const char *rules[GUARD_ARGS_MAX], *sets[GUARD_ARGS_MAX]; /* sets: KEY=VALUE, also what -i and --mode stand for */
    unsigned nrules, nsets;
};

/* One that is watched. Its place in guard.iface is its index in messages and events. */
struct guard_iface {
    char name[IF_NAMESIZE]; /* "": free */
    unsigned ifindex;
    int fd[SK_MAX_WORKERS];
};

enum guard_role { GUARD_ENGINE, GUARD_REPORTER, GUARD_ROLES };

struct guard_child {
    const char *name, *verb;
    pid_t pid; /* 0: not running */
    uid_t uid;
    gid_t gid;
    int chan, blocks; /* -1 */
    bool ready, killed;
    int64_t started, start_at; /* monotonic; start_at: when it is to be started again */
    int64_t gone;              /* when it closed its channel */
    int64_t wait;              /* before the next restart */
    uint64_t restarts;
    int64_t beat_time;
    uint64_t beat[SK_MAX_WORKERS];
};

struct guard {
    struct guard_options opt;
    struct conf *conf;
    unsigned workers;
    struct capture_geometry {
        uint32_t ring_size, block_size, block_timeout;
    } geometry;
    int64_t started_mono, started_wall;
    int signal_fd, watch_fd, lock_fd;
    bool stopping;
    bool watch_pending; /* something changed since the last look */
    int64_t next_look, next_rescan, next_log_check;

    struct guard_iface iface[SK_MAX_INTERFACES];
    bool iface_auto;
    bool iface_full_said;
    unsigned iface_unwatched; /* wanted, but full or failed, at the last look */

    struct guard_child child[GUARD_ROLES];
    int rings_fd, wake_fd, status_fd, log_fd;
    struct ipc_status *status;

    int bundle_fd;      /* what the engine has loaded, or is to load first */
    int next_bundle_fd; /* of a reload under way; -1: none */
    uint64_t generation;
    char home[4096];          /* HOME_NET "auto" */
    bool home_stale;          /* it has changed since the engine was told */
    bool home_reload;         /* the reload under way is for that */
    int64_t home_retry;       /* the next one not before: it costs flows their state */
    struct ipc_loaded loaded; /* of the last load that succeeded */
    bool have_loaded;
    unsigned loads_due;     /* bundles that the engine has not answered for */
    int64_t reload_at;      /* when the reload under way began */
    uint64_t reload_client; /* control client that waits for it; 0: none */
    struct conf *next_conf; /* of a reload that the engine has not confirmed */

    struct nft *nft;
    struct nft_monitor *monitor;
    struct block_table *table;
    struct journal *journal;
    struct never_list *never;
    struct policy_limits limits;
    struct enforcer *enforcer;
    uint64_t monitor_wakes, events_lost;
    int64_t next_discover;
    uint64_t discover_failures; /* in a row */
    int64_t next_prune, next_hits;
    uint32_t blocked_lines;                                 /* new blocks since the last turn of say_blocked */
    int64_t say_never, say_brake, say_touched, say_blocked; /* when the next such line may be logged */

    struct ipc_control *control;
    int64_t next_watchdog, watchdog_interval; /* 0: none */
};

/* guard.c */
int guard_run(const struct guard_options *opt); /* exit code */
void guard_stop(struct guard *g, const char *why);

/* guard_load.c */
SK_MUST_USE int guard_read_conf(const struct guard_options *opt, const struct sk_diag_sink *diag, struct conf **out);
bool guard_home_is_auto(const struct conf *c);
/* Configuration and rules as they are on disk now, sealed. */
SK_MUST_USE int guard_make_bundle(struct guard *g, const struct conf *conf, const struct sk_diag_sink *diag, int *fd);
/* client: who waits for the outcome, or 0. Returns SK_OK when it is under way. why: text for the client. */
SK_MUST_USE int guard_reload(struct guard *g, uint64_t client, char *why, size_t cap);
void guard_loaded(struct guard *g, const struct ipc_loaded *l);
/* The reload under way, if there is one, comes to nothing. */
void guard_reload_drop(struct guard *g, const char *why);

/* guard_iface.c */
SK_MUST_USE int guard_iface_start(struct guard *g);
/* Looks at what is there now, and tells the engine what came and went. */
void guard_iface_rescan(struct guard *g);
void guard_iface_send_all(struct guard *g, enum guard_role role);
void guard_iface_close(struct guard *g);
/* HOME_NET "auto": this host's own addresses as rules write them. True: they have changed. */
bool guard_home_update(struct guard *g);

/* guard_child.c */
SK_MUST_USE int guard_child_setup(struct guard *g);
void guard_child_start(struct guard *g, enum guard_role r);
void guard_child_kill(struct guard *g, enum guard_role r, const char *why);
void guard_child_reap(struct guard *g); /* SIGCHLD */
void guard_child_tick(struct guard *g); /* restarts what is due, kills what is stuck */
void guard_child_receive(struct guard *g, enum guard_role r);
int64_t guard_child_deadline(const struct guard *g); /* monotonic; INT64_MAX: none */
void guard_child_stop_all(struct guard *g);
void guard_log_open(struct guard *g); /* opens the EVE file and hands it to the reporter */

/* guard_block.c */
/* Takes the state folder for this guard alone, until g->lock_fd is closed. */
SK_MUST_USE int guard_block_lock(struct guard *g);
/* Hit counts for showing: begins to read them anew, unless that has just been done. Of a few hundred blocks all are
 * read when this returns; of many the rest follows between other work. */
void guard_block_hits(struct guard *g);
SK_MUST_USE int guard_block_start(struct guard *g);
void guard_block_receive(struct guard *g);
void guard_block_monitor(struct guard *g); /* somebody touched the table */
void guard_block_tick(struct guard *g, int64_t now);
void guard_block_discover(struct guard *g);
void guard_block_stop(struct guard *g);

/* guard_control.c */
json_t *guard_control(void *arg, uint64_t id, const struct ipc_peer *peer, const json_t *request);
json_t *guard_block_json(const struct block *b);
/* guard_status.c */
json_t *guard_status_json(const struct guard *g);

#endif
