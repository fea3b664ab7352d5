/*
 * The guard: the one role that keeps its privileges, and therefore parses nothing that comes from the network. It opens
 * what the others need, hands it to them, restarts them, and alone changes the firewall.
 *
 *   guard.c         start, main loop, stop          guard_iface.c    interfaces and their capture sockets
 *   guard_child.c   the roles: start, watch, kill   guard_block.c    block requests to nftables
 *   guard_load.c    configuration and rules         guard_control.c  answers to the command line
 *   guard_brake.c   the brake                       guard_explain.c  a block with all that is known of it
 *   guard_event.c   its own events                  guard_list.c     lists of blocks
 *   guard_never.c   whom to spare                   guard_kill.c     connections, and who is blocked
 *   guard_ledger.c  what was not inspected          guard_status.c   what status shows
 *   guard_gap.c     when nobody watched            guard_restart.c  whether another program would start
 *   guard_metrics.c the exporter's socket and answers
 *   guard_uplink.c  the role that speaks with the manager, and what is known of it
 *   guard_bundle.c  signed policy and rules of the fleet
 *   guard_news.c    this host's blocks to the manager   guard_fleet.c   the fleet's blocks to this host
 *
 * One thread, to which everything in struct guard belongs; the journal has one of its own, for the disk.
 */
#ifndef AGENT_GUARD_H
#define AGENT_GUARD_H

#include <jansson.h>
#include <net/if.h>
#include "conf/conf.h"
#include "decide/never.h"
#include "engine/engine.h"
#include "enforce/admins.h"
#include "enforce/enforcer.h"
#include "enforce/nft_fake.h"
#include "enforce/refusals.h"
#include "enforce/sockkill.h"
#include "ipc/blocked.h"
#include "ipc/control.h"
#include "ipc/bundle.h"
#include "ipc/message.h"
#include "ipc/status.h"
#include "pki/bundle.h"

#define GUARD_RING_SIZE    (4u << 20) /* bytes of one event ring */
#define GUARD_ARGS_MAX     64         /* -S and --set options */
#define GUARD_RESTART_MIN  (SK_NS_PER_S / 10)
#define GUARD_RESTART_MAX  (30 * SK_NS_PER_S)
#define GUARD_STEADY       (60 * SK_NS_PER_S)  /* a role that lived that long begins again with the shortest wait */
#define GUARD_STUCK        (15 * SK_NS_PER_S)  /* without a heartbeat: killed */
#define GUARD_LOAD_TIME    (300 * SK_NS_PER_S) /* for the first load of rules */
#define GUARD_STOP_TIME    (5 * SK_NS_PER_S)
#define GUARD_GONE_TIME    (2 * SK_NS_PER_S)  /* between the end of a role's channel and its own */
#define GUARD_SAY_EVERY    (10 * SK_NS_PER_S) /* lines of the log that others can cause */
#define GUARD_SAY_BLOCKS   200                /* lines about new blocks within that time */
#define GUARD_LOOK_EVERY   (SK_NS_PER_S / 5)  /* looks at addresses and interfaces, however much changes */
#define GUARD_LEAVE_TIME   (2 * SK_NS_PER_S)  /* for the engine to read what an interface that has gone left behind */
#define GUARD_HOME_RETRY   (10 * SK_NS_PER_S) /* between loads for new addresses, however often those change */
#define GUARD_FILES        16384              /* descriptors: SK_MAX_INTERFACES * SK_MAX_WORKERS sockets, and others */
#define GUARD_BLOCK_BATCH  1024               /* requests taken before they go to the kernel */
#define GUARD_FLEET_RATE   2000 /* blocks of the fleet that are looked at, a second: more wait in the channel */
#define GUARD_FLEET_PAUSE  (SK_NS_PER_S / 20)
#define GUARD_LOOK_UPS     16                /* questions to the manager at once */
#define GUARD_LOOK_UP_TIME (2 * SK_NS_PER_S) /* `explain` waits no longer for an answer */

struct guard_options {
    const char *conf_path;                                    /* NULL: CLI_CONF_PATH if it is there */
    const char *rules[GUARD_ARGS_MAX], *sets[GUARD_ARGS_MAX]; /* sets: KEY=VALUE, also what -i and --mode stand for */
    unsigned nrules, nsets;
};

/* One that is watched. Its place in guard.iface is its index in messages and events. */
struct guard_iface {
    char name[IF_NAMESIZE]; /* "": free */
    unsigned ifindex;
    uint32_t serial;
    int fd[SK_MAX_WORKERS];
    uint64_t got[SK_MAX_WORKERS]; /* frames that the kernel put into the ring of a worker */
    int64_t leave_at;             /* the interface is gone; the engine lets go of it then; 0: it is there */
    bool told;
};

enum guard_role { GUARD_ENGINE, GUARD_REPORTER, GUARD_EXPORTER, GUARD_UPLINK, GUARD_ROLES };

struct guard_child {
    const char *name, *verb;
    pid_t pid; /* 0: not running */
    uid_t uid;
    gid_t gid;
    int chan, blocks;             /* -1 */
    bool ready, killed, confined; /* confined: as it says itself */
    int64_t started, start_at;    /* monotonic; start_at: when it is to be started again */
    int64_t gone;                 /* when it closed its channel */
    int64_t wait;                 /* before the next restart */
    uint64_t restarts;
    int64_t beat_time;
    uint64_t beat[SK_MAX_WORKERS];
};

struct guard_ledger {
    struct sk_counters own[SK_MAX_WORKERS]; /* what the guard counts of each worker */
    uint64_t closed[SK_MAX_WORKERS];        /* frames taken from rings that are closed */
    uint64_t hand[SK_MAX_WORKERS];          /* frames that engines had in their hands when they died */
    int64_t next, looked;                   /* monotonic */
    int64_t blind;                          /* ns without an engine until then */
    bool was_blind;
};

struct guard_gap {
    int fd;         /* of the file that says until when this agent has watched; -1 */
    char boot[37];  /* identifier of this boot */
    int64_t next;   /* monotonic */
    int64_t before; /* ns between the end of the agent before this one and this start; 0: none, or of another boot */
};

struct guard_metrics {
    char *listen; /* metrics.listen as it was at the start; NULL: no metrics */
    bool is_path; /* a socket file that is ours */
    gid_t gid;    /* of a socket in the file system */
    int listen_fd, answer_fd;
    int64_t retry, answered, window; /* monotonic */
    unsigned asked;                  /* within the window */
    uint64_t beats;
};

/* The file that this agent was started from. */
struct guard_program {
    char path[4096]; /* "": not known */
    dev_t dev;
    ino_t ino;
};

/* A client of the control socket that waits for what the manager says of a block. */
struct guard_look_up {
    uint64_t client, id; /* client 0: free */
    int64_t until;       /* monotonic */
    json_t *answer;      /* what is known here */
};

/* NEWS_DUE: everything is to be told anew, from BEGIN on. */
enum guard_news { NEWS_OFF, NEWS_DUE, NEWS_TELLING, NEWS_LIVE };

struct guard_uplink {
    bool wanted;      /* this host has enrolled, and the configuration wants the manager */
    bool replace;     /* it was told to end, for another one to begin */
    int64_t enrolled; /* when agent.json was written; ns */
    int forward_fd, forward_wake;
    uint64_t beats;
    struct ipc_manager said; /* texts are plain */
    int64_t said_at;         /* monotonic */
    bool heard;              /* since the uplink began */
    bool addr_pending;       /* the manager has other addresses than the never-list */
    int64_t next_addr, say_state;
    /* fleet blocks */
    struct sk_rate rate;
    int64_t paused_until; /* monotonic */
    bool sweeping;
    uint64_t feed_seq;
    int64_t snapshot; /* when the last one was whole; wall, 0: never */
    /* own blocks */
    enum guard_news news;
    uint32_t cursor;
    uint64_t told, syncs;
    /* explain */
    struct guard_look_up look_up[GUARD_LOOK_UPS];
    uint64_t look_up_id;
};

/* Policy or rules of the fleet. */
struct guard_bundle {
    uint64_t in_force, trial; /* versions; 0: none. trial: being loaded */
    int fd;                   /* one that waits; -1 */
    struct ipc_signed said;   /* of that one */
    int64_t since;            /* wall; 0: before this start */
    uint64_t refused;         /* the last one that was */
    int64_t refused_at;
    char why[IPC_TEXT_MAX];
};

struct guard_bundles {
    struct guard_bundle of[BUNDLE_KINDS];
    bool read;                    /* the versions in force are known */
    bool floor_off;               /* the keys are those of another enrolment: versions begin anew */
    char keys[65], next_keys[65]; /* hash of the keys that what is in force, or on trial, was signed by */
    int64_t next;                 /* look at a signature not before; monotonic */
    json_t *settings;             /* of the policy that was laid over the configuration read last; NULL: none */
};

struct guard {
    struct guard_program program;
    struct guard_options opt;
    struct instance_conf *instance, *next_instance; /* settings beside the file: in force, read last; NULL */
    struct conf *conf;
    unsigned workers;
    struct capture_geometry {
        uint32_t ring_size, block_size, block_timeout, snaplen;
    } geometry;
    int64_t started_mono, started_wall;
    int signal_fd, watch_fd, lock_fd;
    bool stopping;
    bool watch_pending; /* something changed since the last look */
    int64_t next_look, next_rescan, next_log_check;

    struct guard_iface iface[SK_MAX_INTERFACES];
    uint32_t iface_serial;
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

    bool dry_run;          /* as at the start: fake instead of nft and monitor */
    struct nft_fake *fake; /* NULL: the kernel */
    struct nft *nft;
    struct nft_monitor *monitor;
    struct block_table *table;
    struct journal *journal;
    struct never_list *never;
    struct policy_limits limits;
    struct conf_brake brake; /* of conf: a reload frees that */
    struct enforcer *enforcer;
    struct refusals *refusals;
    int64_t next_refusals;
    int64_t active_of; /* when the engine began (monotonic) whose active clients these are */
    uint64_t active_before, active_last;
    struct sockkill_diag *diag; /* NULL: connections cannot be destroyed */
    struct sockkill *kill;
    bool kill_unsupported_said;
    int64_t say_kill;
    struct ipc_blocked_writer *blocked;
    int blocked_fd;
    struct guard_ledger ledger;
    struct guard_gap gap;
    struct guard_metrics metrics;
    struct guard_uplink uplink;
    struct guard_bundles bundles;
    uint64_t monitor_wakes, events_lost;
    int64_t next_discover;
    uint64_t discover_failures; /* in a row */
    struct admins *admins;
    bool admins_pending; /* somebody has logged in or out since the last look */
    int64_t next_admins;
    int64_t next_prune;
    uint32_t blocked_lines;                                 /* new blocks since the last turn of say_blocked */
    int64_t say_never, say_brake, say_touched, say_blocked; /* when the next such line may be logged */

    struct ipc_control *control;
    int64_t next_watchdog, watchdog_interval; /* 0: none */
};

/* guard.c */
int guard_run(const struct guard_options *opt); /* exit code */
void guard_tell_reloading(void);
void guard_stop(struct guard *g, const char *why);
/* The folder of a file, with parents of one level: /run/sekisho for /run/sekisho/control.sock. */
void guard_make_folder(const char *path, mode_t mode);

/* guard_load.c */
/* The file, over it the instance's settings, the policy of the fleet, and --set. */
SK_MUST_USE int guard_read_conf(struct guard *g, const struct sk_diag_sink *diag, struct conf **out);
void guard_load_free(struct guard *g);
/* The instance's settings, with where each comes from. */
json_t *guard_settings_json(const struct guard *g);
bool guard_home_is_auto(const struct conf *c);
/* Configuration and rules as they are on disk now, sealed. */
SK_MUST_USE int guard_make_bundle(struct guard *g, const struct conf *conf, const struct sk_diag_sink *diag, int *fd);
/* client: who waits for the outcome, or 0. Returns SK_OK when it is under way. why: text for the client. */
SK_MUST_USE int guard_reload(struct guard *g, uint64_t client, char *why, size_t cap);
void guard_loaded(struct guard *g, const struct ipc_loaded *l);
/* The reload under way, if there is one, comes to nothing. */
void guard_reload_drop(struct guard *g, const char *why);

/* guard_iface.c */
/* Interfaces that the file names may come later; those that somebody has typed must be there. */
SK_MUST_USE int guard_iface_start(struct guard *g);
/* Looks at what is there now, and tells the engine what came and went. */
void guard_iface_rescan(struct guard *g);
/* Names of the configuration that are not there. */
json_t *guard_iface_missing(const struct guard *g);
void guard_iface_send_all(struct guard *g, enum guard_role role);
/* Closes those that have gone, when the engine has let go of them; all_gone: there is no engine to wait for. */
void guard_iface_leave(struct guard *g, bool all_gone);
/* Nothing more comes: the agent is stopping. */
void guard_iface_mute(struct guard *g);
void guard_iface_close(struct guard *g);
/* HOME_NET "auto": this host's own addresses as rules write them. True: they have changed. */
bool guard_home_update(struct guard *g);

/* guard_gap.c */
/* opened: when the capture sockets were (monotonic). The state folder is ours by now. */
void guard_gap_start(struct guard *g, int64_t opened);
void guard_gap_tick(struct guard *g, bool last);

/* guard_child.c */
SK_MUST_USE int guard_child_setup(struct guard *g);
void guard_child_start(struct guard *g, enum guard_role r);
void guard_child_kill(struct guard *g, enum guard_role r, const char *why);
void guard_child_reap(struct guard *g); /* SIGCHLD */
void guard_child_tick(struct guard *g); /* restarts what is due, kills what is stuck */
void guard_child_receive(struct guard *g, enum guard_role r);
int64_t guard_child_deadline(const struct guard *g); /* monotonic; INT64_MAX: none */
void guard_child_stop(struct guard *g, enum guard_role r);
void guard_log_open(struct guard *g); /* opens the EVE file and hands it to the reporter */

/* guard_brake.c; the first two are called by the enforcer */
uint64_t guard_active(void *arg, int64_t now);
void guard_braked(void *arg, const struct enforcer_brake *b, int64_t now);
void guard_brake_follow_engine(struct guard *g);
json_t *guard_brake_json(const struct guard *g);

/* guard_event.c */
void guard_send_event(struct guard *g, const struct ipc_event *e);
void guard_event_block(struct guard *g, enum enforcer_event ev, const struct block *b, int64_t now);
void guard_event_refused(void *arg, const struct refusal *f, int64_t now);

/* guard_block.c */
/* Takes from g->conf what the enforcer looks at. */
void guard_block_configure(struct guard *g);
/* enforcer_request, and what is refused is told. */
void guard_block_request(struct guard *g, const struct decide_request *q, enum block_origin origin,
                         struct enforce_outcome *out);
/* Takes the state folder for this guard alone, until g->lock_fd is closed. */
SK_MUST_USE int guard_block_lock(struct guard *g);
/* Hit counts for showing: begins to read them anew. Of a few hundred blocks all are read when this returns; of many the
 * rest follows between other work. */
void guard_block_hits(struct guard *g);
SK_MUST_USE int guard_block_start(struct guard *g);
void guard_block_receive(struct guard *g);
void guard_block_monitor(struct guard *g); /* somebody touched the table */
void guard_block_tick(struct guard *g, int64_t now);
void guard_block_stop(struct guard *g);

/* guard_never.c */
SK_MUST_USE int guard_never_start(struct guard *g);
/* Asks kernel, resolv.conf and logins anew; blocks of those who are to be spared now end. */
void guard_never_discover(struct guard *g);
/* The same, for a new configuration. */
void guard_never_reload(struct guard *g);
int guard_never_watch_fd(const struct guard *g);
void guard_never_watch_read(struct guard *g);
void guard_never_tick(struct guard *g);
void guard_never_stop(struct guard *g);

/* guard_kill.c */
SK_MUST_USE int guard_kill_start(struct guard *g);
void guard_kill_stop(struct guard *g);
/* q has been decided on; b: what blocks its target, or NULL. */
void guard_kill_ask(struct guard *g, const struct decide_request *q, const struct block *b);
/* Behind enforcer_flush: who loses his connection must not be able to open the next. */
void guard_kill_run(struct guard *g);
void guard_blocked_fill(struct guard *g); /* from the block table */
void guard_blocked_event(struct guard *g, enum enforcer_event ev, const struct block *b);

/* guard_ledger.c */
/* The kernel's counts, as of now, under the cause of now: call it before a reload begins and ends. */
void guard_ledger_read(struct guard *g);
/* The engine works from now on, or no longer. */
void guard_ledger_ready(struct guard *g, bool ready);
void guard_ledger_tick(struct guard *g);
/* An engine has died, or ended: what it had taken and not accounted for. Before the next one starts. */
void guard_ledger_died(struct guard *g);
/* The rings of an interface are about to be closed; nobody reads them: what is left there is booked. */
void guard_ledger_close(struct guard *g, struct guard_iface *f, enum sk_counter cause);
uint64_t guard_ledger_total(const struct guard *g, enum sk_counter c);
json_t *guard_ledger_json(struct guard *g);
/* The last word, when all rings are closed: to the log, and to the EVE log. */
void guard_ledger_finish(struct guard *g);

/* guard_metrics.c */
bool guard_metrics_start(struct guard *g);
bool guard_metrics_wanted(const struct guard *g);
void guard_metrics_tick(struct guard *g);
/* The exporter has sent a message. False: too many. */
bool guard_metrics_may_speak(struct guard *g);
/* It asks. */
void guard_metrics_answer(struct guard *g);
void guard_metrics_stop(struct guard *g);

/* guard_uplink.c */
/* Is there a manager? Before the reporter begins. */
void guard_uplink_look(struct guard *g);
void guard_uplink_start(struct guard *g);
/* The configuration may be another, or this host has enrolled. */
void guard_uplink_reload(struct guard *g, const struct conf *old);
SK_MUST_USE int guard_uplink_send_start(struct guard *g);
/* To the reporter: what to pass on. Nothing when there is no manager. */
SK_MUST_USE int guard_uplink_send_forward(struct guard *g);
void guard_uplink_ready(struct guard *g);
void guard_uplink_died(struct guard *g);
/* False: it has no business sending that. */
bool guard_uplink_message(struct guard *g, struct ipc_msg *m);
/* Messages wait until then, because the fleet's blocks come too fast. */
bool guard_uplink_paused(const struct guard *g);
/* The channel is to be looked at for writing. */
bool guard_uplink_wants_out(const struct guard *g);
void guard_uplink_tick(struct guard *g);
int64_t guard_uplink_deadline(const struct guard *g); /* monotonic; INT64_MAX: none */
/* Adds the manager's addresses to a never-list that is being made. */
void guard_uplink_spare(const struct guard *g, struct never_list *l);
/* What the manager knows of target goes into the block of answer. NULL: the answer follows. */
json_t *guard_uplink_explain(struct guard *g, uint64_t client, const struct sk_prefix *target, json_t *answer);
json_t *guard_uplink_json(const struct guard *g);
void guard_uplink_stop(struct guard *g);
/* Text of others: what is not printable ASCII becomes a question mark. */
void guard_make_plain(char *s);

/* guard_bundle.c */
/* Takes fd. */
void guard_bundle_message(struct guard *g, const struct ipc_signed *m, int fd);
void guard_bundle_tick(struct guard *g);
/* A load has ended that may have been of a bundle on trial. */
void guard_bundle_loaded(struct guard *g, const struct ipc_loaded *l);
bool guard_bundle_on_trial(const struct guard *g);
/* What is in force, to an uplink that has just begun. */
void guard_bundle_tell(struct guard *g);
/* Settings to lay over c, which is what the host says by itself: {KEY: TEXT}; NULL: none. The caller's. */
json_t *guard_bundle_settings(struct guard *g, const struct conf *c);
SK_MUST_USE int guard_bundle_add_rules(const struct guard *g, struct ipc_bundle *b, const struct conf *c);
json_t *guard_bundle_json(const struct guard *g, enum bundle_kind k);
void guard_bundle_stop(struct guard *g);

/* guard_news.c */
void guard_news_event(struct guard *g, enum enforcer_event ev, const struct block *b, int64_t now);
void guard_news_tick(struct guard *g, int64_t now);

/* guard_fleet.c */
void guard_fleet_message(struct guard *g, const struct ipc_fleet *f);
void guard_fleet_done(struct guard *g, const struct ipc_fleet_done *d);
void guard_fleet_tick(struct guard *g);
/* The fleet's blocks are wanted no more. */
void guard_fleet_drop(struct guard *g);
json_t *guard_fleet_json(const struct guard *g);

/* guard_control.c */
json_t *guard_control(void *arg, uint64_t id, const struct ipc_peer *peer, const json_t *request);

/* guard_explain.c */
/* As in lists; brief: what a line of text needs. */
json_t *guard_block_json(const struct block *b, bool brief);
const char *guard_block_reason(const struct block *b);
/* Of one that is over. */
void guard_ended_json(json_t *o, const struct block *b, int64_t ended, enum journal_end why);
/* By its ID, or what blocks or has last blocked an address or network. NULL: nothing does or did. */
json_t *guard_explain(struct guard *g, const char *what);

/* guard_restart.c */
void guard_program_note(struct guard_program *p);
/* Another one lies in its place, or none: a restart is due. */
bool guard_program_replaced(const struct guard_program *p);
/*
 * Would `run` start with these options, as far as configuration, the fleet's policy, and rules are concerned? Reads
 * what it would read, loads the rules, and lets go of everything. What is wrong goes to diag, or is logged.
 */
SK_MUST_USE int guard_would_start(const struct guard_options *opt, const struct sk_diag_sink *diag,
                                  struct engine_rule_stats *st);

/* guard_list.c */
json_t *guard_list(struct guard *g, const json_t *req);
/* guard_status.c */
json_t *guard_status_json(struct guard *g);

#endif
