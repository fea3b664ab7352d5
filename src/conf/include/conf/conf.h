/*
 * Configuration: sekisho.yaml to one struct, with a finding (file:line:column) for each mistake. One table of keys
 * (table.c) serves the YAML reader, `--set KEY=VALUE` and the manual page. Key names are Suricata's where the thing
 * is the same; in YAML the dots of a path are nesting.
 *
 * Life cycle: conf_default or conf_load, then any conf_set / conf_load_vars, then conf_check; from there on the
 * struct is read-only and may be shared by threads. Everything in it belongs to it until conf_free.
 * Sizes are bytes, times nanoseconds, unless a name says otherwise. Strings are never NULL; an optional one that is
 * absent is "". Relative paths are relative to the working directory.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/addr.h"
#include "base/diag.h"

#define CONF_MAX_TEXT  (1 << 20) /* longest text of a configuration; a longer one is refused */
#define CONF_MAX_LIST  4096      /* entries in one list; more are refused */
#define CONF_MAX_VARS  256       /* groups of one kind; more are refused */
#define CONF_MAX_PORTS 4         /* ports of one tunnel decoder; more are refused */
#define CONF_MAX_DIAGS 20        /* findings about one text; after that the reader stops */

enum conf_mode { CONF_DETECT, CONF_PREVENT };

enum conf_tristate { CONF_AUTO, CONF_YES, CONF_NO };

/* Bits of outputs.eve.types. */
enum conf_eve_type {
    CONF_EVE_ALERT = 1,
    CONF_EVE_HTTP = 2,
    CONF_EVE_FLOW = 4,
    CONF_EVE_DROP = 8,
    CONF_EVE_STATS = 16,
    CONF_EVE_ANOMALY = 32,
    CONF_EVE_FILEINFO = 64,
};

struct conf_list {
    const char *const *v;
    uint32_t n;
};

struct conf_prefixes {
    const struct sk_prefix *v;
    uint32_t n;
};

/* A named group: name without "$", text as rules write it ("[10.0.0.0/8,!10.1.0.0/16]"); the rule reader parses it. */
struct conf_var {
    const char *name, *text;
    bool given; /* by a person: not the built-in default (`run` makes a HOME_NET that is not given "auto") */
};

struct conf_vars {
    const struct conf_var *v;
    uint32_t n;
};

struct conf_capture {
    struct conf_list interfaces; /* n == 0: "auto", every up interface that is not loopback */
    uint32_t workers;            /* 0: one a core */
    uint32_t ring_size;          /* bytes of one ring; at least two blocks */
    uint32_t block_size;         /* power of two */
    uint32_t block_timeout_ms;
    uint32_t snaplen;
    bool promisc;
    enum conf_tristate checksum_validation; /* auto is yes: frames say where there is nothing to verify */
};

struct conf_defrag {
    uint32_t memcap; /* a worker */
    uint32_t max_trackers;
    int64_t timeout;
};

struct conf_flow {
    uint32_t max_flows; /* a worker */
    int64_t tcp_new, tcp_established, tcp_closed;
    int64_t udp_new, udp_established;
    int64_t icmp_new, icmp_established;
    int64_t default_new, default_established;
};

struct conf_stream {
    uint32_t memcap;       /* a worker */
    uint64_t depth;        /* bytes a direction; 0: no limit */
    uint32_t max_segments; /* held out of order, a direction */
    bool midstream;
    bool async_oneside;
    enum conf_tristate is_inline; /* auto: as the mode says */
};

struct conf_http {
    uint64_t request_body_limit, response_body_limit; /* inspected bytes of a body; 0: no limit */
    uint32_t header_limit;                            /* bytes of all headers of a message */
    uint32_t max_tx;                                  /* pipelined transactions of a flow */
    uint32_t decompress_limit;                        /* output bytes of one body */
    uint32_t decompress_layer_limit;                  /* encodings on top of each other */
    uint32_t memcap;                                  /* a worker */
};

struct conf_detect {
    uint32_t pcre_match_limit, pcre_recursion_limit;
    uint32_t pcre_heap_limit; /* bytes */
    uint32_t max_alerts_per_packet;
    uint32_t threshold_memcap; /* a worker */
    uint32_t stream_chunk;     /* bytes of raw stream inspected together */
};

/* Who stands between the clients and this host, and what is believed of them (identity/identity.h). */
struct conf_proxies {
    struct conf_prefixes http;           /* hops that append their peer's address to `header` */
    struct conf_prefixes proxy_protocol; /* hops that begin each connection with a PROXY protocol header */
    struct conf_prefixes opaque;         /* hops that say nothing of their clients that could be believed */
    const char *header;                  /* name; "none": no header is believed */
};

/* One entry of decide.policy: which rules it is about, and what their alerts do. The first entry that fits counts. */
enum conf_policy_by {
    CONF_POLICY_SID,      /* gid and sid */
    CONF_POLICY_CLASS,    /* name: of the classtype */
    CONF_POLICY_TAG,      /* name: key of the rule's metadata; value: of that key, NULL any */
    CONF_POLICY_PRIORITY, /* sid: 1..255 */
    CONF_POLICY_ANY,
};
enum conf_policy_act {
    CONF_POLICY_NEVER, /* neither blocks nor scores, whatever the rule says */
    CONF_POLICY_BLOCK, /* blocks at once, for duration */
    CONF_POLICY_SCORE, /* adds points, also where the rule itself would block at once */
};
struct conf_policy {
    enum conf_policy_by by;
    enum conf_policy_act act;
    uint32_t gid, sid;
    const char *name, *value;
    int64_t duration; /* ns; 0: decide.block-duration */
    uint32_t points;
};
struct conf_policies {
    const struct conf_policy *v;
    uint32_t n;
};

struct conf_score {
    bool enabled;
    uint32_t threshold; /* points within the window at which the client is blocked */
    int64_t window;
    uint32_t priority[4]; /* points of an alert of priority 1, 2, 3, and of the others */
};

enum conf_flood_action { CONF_FLOOD_NONE, CONF_FLOOD_ALERT, CONF_FLOOD_BLOCK };
struct conf_flood {
    enum conf_flood_action action;
    int64_t window;
    uint32_t host_rate, prefix_rate; /* connections and requests a second, averaged over the window */
};

struct conf_brake {
    uint32_t share;   /* percent of the clients that were active within the window */
    uint32_t minimum; /* new blocks within the window that are always allowed */
    uint32_t rate;    /* new blocks a second */
    int64_t window;
};

struct conf_decide {
    int64_t block_duration, max_block_duration;
    bool block_on_drop;                              /* in detect mode a drop rule blocks the source */
    bool dry_run;                                    /* everything but the kernel: blocks are recorded, not set */
    bool kill_sockets;                               /* the guard destroys the connection that carried the attack */
    bool spare_administrators, spare_local_networks; /* on the never-list */
    uint32_t max_blocks;
    uint32_t repeat_factor; /* each further block of a client lasts so many times as long as the one before */
    int64_t repeat_memory;  /* a block that ended longer ago does not count */
    struct conf_score score;
    struct conf_flood flood;
    struct conf_brake brake;
    struct conf_policies policy;
};

struct conf_guard {
    const char *control_socket, *state_dir;
    const char *user, *reporter_user; /* of the engine, of the reporter */
    bool keep_blocks_on_stop;
    int64_t history; /* ended blocks stay in the journal for so long */
};

struct conf_eve {
    bool enabled, payload, payload_printable;
    const char *path;
    uint32_t types; /* enum conf_eve_type bits */
};

/* The fleet that this host belongs to, once it has enrolled. */
struct conf_manager {
    enum conf_tristate enabled; /* auto: when the host has enrolled (agent.json is in state_dir) */
    const char *state_dir;
    uint64_t spool_size; /* bytes of the file in which what is to be told waits */
    uint32_t forward;    /* 1 << enum event_type (event/event.h): events that the manager is told */
    bool fleet_blocks, rules, policy;
};

struct conf_tunnel {
    bool enabled;
    uint16_t ports[CONF_MAX_PORTS]; /* 0 ends the list */
};

struct conf {
    enum conf_mode mode;
    struct conf_vars address_groups, port_groups;
    struct conf_list rule_files;                      /* files and globs */
    const char *classification_file, *threshold_file; /* "": built-in classes; no thresholds */
    struct conf_capture capture;
    struct conf_defrag defrag;
    struct conf_flow flow;
    struct conf_stream stream;
    struct conf_http http;
    struct conf_detect detect;
    struct conf_proxies proxies;
    struct conf_decide decide;
    struct conf_prefixes never; /* static part of the never-list */
    struct conf_guard guard;
    struct conf_eve eve;
    int64_t stats_interval;
    struct conf_manager manager;
    const char *metrics_listen; /* "": off; /PATH of a unix socket, or a loopback ADDRESS:PORT */
    struct conf_tunnel vxlan, geneve, teredo;
    struct conf_priv *priv; /* memory, and where each key stood */
};

/* All defaults. SK_ENOMEM. */
SK_MUST_USE int conf_default(struct conf **out);
/*
 * Defaults, then the text, then conf_check. path_name is only for findings. SK_EINVAL after at least one finding of
 * level error, SK_EFULL for a text over CONF_MAX_TEXT, SK_ENOMEM; *out is NULL then. An empty text is valid.
 */
SK_MUST_USE int conf_load(const char *path_name, const char *text, size_t len, const struct sk_diag_sink *sink,
                          struct conf **out);
/* Reads the file; also SK_ENOENT, SK_EPERM, SK_EIO, each with a finding. */
SK_MUST_USE int conf_load_file(const char *path, const struct sk_diag_sink *sink, struct conf **out);
/*
 * `--set`: one key, of the table or one of its Suricata aliases. Lists are written a,b or [a,b]; a group is
 * vars.address-groups.NAME. SK_EINVAL with a finding, the configuration unchanged; SK_ENOMEM, SK_EFULL.
 */
SK_MUST_USE int conf_set(struct conf *c, const char *key, const char *value, const struct sk_diag_sink *sink);
/* The same with "KEY=VALUE" in one string. */
SK_MUST_USE int conf_set_arg(struct conf *c, const char *key_value, const struct sk_diag_sink *sink);
/* The same from a line of a file, which findings name. */
SK_MUST_USE int conf_set_line(struct conf *c, const char *file, unsigned line, const char *key_value,
                              const struct sk_diag_sink *sink);
/*
 * `--vars`: JSON (or YAML) {"address-groups": {NAME: TEXT, ...}, "port-groups": {...}} over what c has; other keys
 * at the top are passed over. Errors as conf_load; groups that stood before a mistake may have been taken.
 */
SK_MUST_USE int conf_load_vars(struct conf *c, const char *path_name, const char *text, size_t len,
                               const struct sk_diag_sink *sink);
/* What no single key shows: keys that must fit each other. SK_OK, or SK_EINVAL with findings. conf_load has done it. */
SK_MUST_USE int conf_check(const struct conf *c, const struct sk_diag_sink *sink);
void conf_free(struct conf *c); /* NULL is fine */

/* Where something is served for this host alone. */
struct conf_listen {
    const char *path;    /* of a unix socket, within the text that was read; NULL: a port */
    struct sk_addr addr; /* loopback */
    uint16_t port;
};
/* "/PATH", "127.0.0.1:PORT", "[::1]:PORT". SK_EINVAL: anything else. */
SK_MUST_USE int conf_listen_parse(const char *text, struct conf_listen *out);

/* Group by name (case-sensitive) of address_groups or port_groups; NULL when there is none. */
const struct conf_var *conf_group(const struct conf_vars *groups, const char *name);

/* One line of the manual page; static strings. allowed: what a value may be, in words ("1..64", "yes or no"). */
struct conf_key {
    const char *path, *def, *help;
    char allowed[96];
};

/* Each key in the order of the manual page. */
void conf_describe(void (*fn)(void *arg, const struct conf_key *key), void *arg);

#endif
