/* Every key: the one place that the reader, --set and the manual page share. */
#include "conf_priv.h"

#include <stdio.h>

#define KIB        UINT64_C(1024)
#define MIB        (KIB * 1024)
#define GIB        (MIB * 1024)
#define WEEK       (UINT64_C(7) * 86400)
#define YEAR       (UINT64_C(365) * 86400)
#define PATH_LEN   4095 /* PATH_MAX without its NUL */
#define SUN_PATH   107  /* unix(7): sun_path without its NUL */
#define USER_LEN   32   /* useradd(8) */
#define MAX_TUPLES (UINT64_C(1) << 24)

static const char *const words_mode[] = {"detect", "prevent", NULL};
static const char *const words_tristate[] = {"auto", "yes", "no", NULL};
static const char *const words_eve[] = {"alert", "http", "flow", "drop", "stats", "anomaly", "fileinfo", NULL};
static const char *const words_flood[] = {"none", "alert", "block", NULL};
/* As enum event_type (event/event.h) has them. */
static const char *const words_event[] = {"alert",   "drop",     "http",  "flow",  "stats",
                                          "anomaly", "fileinfo", "block", "flood", NULL};
static const char *const words_auto[] = {"auto", NULL};

#define F(field) offsetof(struct conf, field)
#define BOOL(path, field, def, help)                                                                                   \
    {                                                                                                                  \
        path, CONF_T_BOOL, F(field), 0, 1, def, NULL, help                                                             \
    }
#define U32(path, field, min, max, def, help)                                                                          \
    {                                                                                                                  \
        path, CONF_T_U32, F(field), min, max, def, NULL, help                                                          \
    }
#define SIZE(path, field, min, max, def, help)                                                                         \
    {                                                                                                                  \
        path, CONF_T_SIZE32, F(field), min, max, def, NULL, help                                                       \
    }
#define SIZE64(path, field, min, max, def, help)                                                                       \
    {                                                                                                                  \
        path, CONF_T_SIZE64, F(field), min, max, def, NULL, help                                                       \
    }
#define TIME(path, field, min, max, def, help)                                                                         \
    {                                                                                                                  \
        path, CONF_T_TIME, F(field), min, max, def, NULL, help                                                         \
    }
#define TEXT(path, field, min, max, def, help)                                                                         \
    {                                                                                                                  \
        path, CONF_T_TEXT, F(field), min, max, def, NULL, help                                                         \
    }
#define WORD(path, field, words, def, help)                                                                            \
    {                                                                                                                  \
        path, CONF_T_WORD, F(field), 0, 0, def, words, help                                                            \
    }
#define FLAGS(path, field, words, def, help)                                                                           \
    {                                                                                                                  \
        path, CONF_T_FLAGS, F(field), 0, 0, def, words, help                                                           \
    }
#define LIST(path, field, max, words, def, help)                                                                       \
    {                                                                                                                  \
        path, CONF_T_LIST, F(field), 0, max, def, words, help                                                          \
    }
#define PREFIXES(path, field, max, def, help)                                                                          \
    {                                                                                                                  \
        path, CONF_T_PREFIXES, F(field), 0, max, def, NULL, help                                                       \
    }
#define PORTS(path, field, def, help)                                                                                  \
    {                                                                                                                  \
        path, CONF_T_PORTS, F(field), 1, 65535, def, NULL, help                                                        \
    }
#define POLICY(path, field, max, def, help)                                                                            \
    {                                                                                                                  \
        path, CONF_T_POLICY, F(field), 0, max, def, NULL, help                                                         \
    }
#define GROUPS(path, field, def, help)                                                                                 \
    {                                                                                                                  \
        path, CONF_T_GROUPS, F(field), 0, CONF_MAX_VARS, def, NULL, help                                               \
    }

/* clang-format off */
const struct conf_entry conf_table[] = {
    WORD("mode", mode, words_mode, "detect",
         "detect watches and blocks; prevent also stands in the packets' way"),
    GROUPS("vars.address-groups", address_groups,
           "HOME_NET=[192.168.0.0/16,10.0.0.0/8,172.16.0.0/12] EXTERNAL_NET=!$HOME_NET "
           "HTTP_SERVERS=$HOME_NET SMTP_SERVERS=$HOME_NET SQL_SERVERS=$HOME_NET DNS_SERVERS=$HOME_NET "
           "TELNET_SERVERS=$HOME_NET AIM_SERVERS=$EXTERNAL_NET DC_SERVERS=$HOME_NET "
           "DNP3_SERVER=$HOME_NET DNP3_CLIENT=$HOME_NET MODBUS_CLIENT=$HOME_NET MODBUS_SERVER=$HOME_NET "
           "ENIP_CLIENT=$HOME_NET ENIP_SERVER=$HOME_NET",
           "address groups of rules; HOME_NET may be auto: this host's own addresses"),
    GROUPS("vars.port-groups", port_groups,
           "HTTP_PORTS=80 SHELLCODE_PORTS=!80 ORACLE_PORTS=1521 SSH_PORTS=22 DNP3_PORTS=20000 MODBUS_PORTS=502 "
           "FILE_DATA_PORTS=[$HTTP_PORTS,110,143] FTP_PORTS=21 GENEVE_PORTS=6081 VXLAN_PORTS=4789 TEREDO_PORTS=3544",
           "port groups of rules"),
    LIST("rule-files", rule_files, CONF_MAX_LIST, NULL, "/usr/share/sekisho/rules/*.rules", "rule files and globs"),
    TEXT("classification-file", classification_file, 0, PATH_LEN, "",
         "classification.config; without it the usual classes are built in"),
    TEXT("threshold-file", threshold_file, 0, PATH_LEN, "", "threshold.config: suppressions and rate limits by signature"),

    LIST("capture.interfaces", capture.interfaces, SK_MAX_INTERFACES, words_auto, "auto",
         "interfaces to watch; auto takes each that is up and is not loopback"),
    U32("capture.workers", capture.workers, 0, SK_MAX_WORKERS, "0", "threads that inspect; 0 is one a core"),
    SIZE("capture.ring-size", capture.ring_size, 256 * KIB, 2 * GIB, "64mb",
         "memory of one capture ring, taken at the start; each worker has one on each interface"),
    SIZE("capture.block-size", capture.block_size, SK_MAX_FRAME / 2, 64 * MIB, "128kb",
         "block of a ring; a power of two, at most half a ring; small ones, because each is handed over after the timeout"),
    U32("capture.block-timeout", capture.block_timeout_ms, 1, 1000, "1",
        "milliseconds until a part-filled block is handed over: the greatest part of the time from an attack to its block"),
    SIZE("capture.snaplen", capture.snaplen, 256, SK_MAX_FRAME, "262144", "bytes kept of a frame"),
    BOOL("capture.promisc", capture.promisc, "no", "promiscuous mode"),
    WORD("capture.checksum-validation", capture.checksum_validation, words_tristate, "auto",
         "ignore packets with a wrong checksum; auto: live only what the host receives"),

    SIZE("defrag.memcap", defrag.memcap, 64 * KIB, 2 * GIB, "16mb", "memory for IP fragments, a worker"),
    U32("defrag.trackers", defrag.max_trackers, 16, 1 << 20, "8192", "incomplete datagrams, a worker"),
    TIME("defrag.timeout", defrag.timeout, 1, 3600, "60",
         "time until an incomplete datagram is given up (IPv4: 30 s at most, as Linux)"),

    U32("flow.max-flows", flow.max_flows, 64, MAX_TUPLES, "65536", "flows, a worker; when full, half-open ones go first"),
    TIME("flow-timeouts.tcp.new", flow.tcp_new, 1, WEEK, "60", "idle time of a half-open TCP flow"),
    TIME("flow-timeouts.tcp.established", flow.tcp_established, 1, WEEK, "600", "idle time of an open TCP flow"),
    TIME("flow-timeouts.tcp.closed", flow.tcp_closed, 1, WEEK, "60", "time until a closed TCP flow is forgotten"),
    TIME("flow-timeouts.udp.new", flow.udp_new, 1, WEEK, "30", "idle time of a UDP flow without an answer"),
    TIME("flow-timeouts.udp.established", flow.udp_established, 1, WEEK, "300", "idle time of a UDP flow"),
    TIME("flow-timeouts.icmp.new", flow.icmp_new, 1, WEEK, "30", "idle time of an ICMP flow without an answer"),
    TIME("flow-timeouts.icmp.established", flow.icmp_established, 1, WEEK, "300", "idle time of an ICMP flow"),
    TIME("flow-timeouts.default.new", flow.default_new, 1, WEEK, "30", "idle time of another flow without an answer"),
    TIME("flow-timeouts.default.established", flow.default_established, 1, WEEK, "300", "idle time of another flow"),

    SIZE("stream.memcap", stream.memcap, 64 * KIB, 2 * GIB, "64mb", "memory for segments out of order, a worker"),
    U32("stream.max-segments", stream.max_segments, 4, 1 << 20, "2048", "segments held out of order, a direction"),
    SIZE64("stream.reassembly.depth", stream.depth, 0, 1024 * GIB, "1mb",
           "bytes of a direction that are inspected; 0 is no limit"),
    BOOL("stream.midstream", stream.midstream, "no", "pick up TCP sessions whose handshake was not seen"),
    BOOL("stream.async-oneside", stream.async_oneside, "no", "inspect TCP sessions of which one direction is seen"),
    WORD("stream.inline", stream.is_inline, words_tristate, "auto",
         "inspect data only in the form in which it is let through; auto: in prevent mode"),

    SIZE64("http.request-body-limit", http.request_body_limit, 0, 1024 * GIB, "100kb",
           "inspected bytes of a request body; 0 is no limit"),
    SIZE64("http.response-body-limit", http.response_body_limit, 0, 1024 * GIB, "100kb",
           "inspected bytes of a response body; 0 is no limit"),
    SIZE("http.header-limit", http.header_limit, 1 * KIB, 16 * MIB, "64kb", "bytes of the headers of one message"),
    U32("http.max-tx", http.max_tx, 1, 4096, "64", "requests of one flow that wait for their response"),
    SIZE("http.decompress-limit", http.decompress_limit, 1 * KIB, 1 * GIB, "1mb", "bytes that one body may unpack to"),
    U32("http.decompress-layer-limit", http.decompress_layer_limit, 0, 8, "3",
        "content encodings on top of each other that are unpacked"),
    SIZE("http.memcap", http.memcap, 64 * KIB, 2 * GIB, "64mb", "memory for HTTP, a worker"),

    U32("detect.pcre.match-limit", detect.pcre_match_limit, 1, 10000000, "3500", "PCRE2 match limit of one evaluation"),
    U32("detect.pcre.match-limit-recursion", detect.pcre_recursion_limit, 1, 10000000, "1500",
        "PCRE2 depth limit of one evaluation"),
    SIZE("detect.pcre.heap-limit", detect.pcre_heap_limit, 16 * KIB, 256 * MIB, "4mb",
         "PCRE2 heap limit of one evaluation"),
    U32("detect.max-alerts-per-packet", detect.max_alerts_per_packet, 1, 255, "15", "alerts of one packet; more are counted"),
    SIZE("detect.thresholds.memcap", detect.threshold_memcap, 64 * KIB, 2 * GIB, "16mb",
         "memory for thresholds and rates, a worker"),
    SIZE("detect.stream-chunk", detect.stream_chunk, 256, 64 * KIB, "2560", "bytes of raw stream inspected together"),

    PREFIXES("proxies.http", proxies.http, CONF_MAX_LIST, "",
             "load balancers and proxies that append the address of their client to proxies.header (ALB, CloudFront, nginx)"),
    PREFIXES("proxies.proxy-protocol", proxies.proxy_protocol, CONF_MAX_LIST, "",
             "load balancers that begin each connection with a PROXY protocol header, version 1 or 2 (NLB, HAProxy)"),
    PREFIXES("proxies.opaque", proxies.opaque, CONF_MAX_LIST, "",
             "load balancers that say nothing of their clients that could be believed (ALB in preserve mode, NLB without PROXY "
             "protocol): alerts, and never a block"),
    TEXT("proxies.header", proxies.header, 1, 128, "X-Forwarded-For",
         "header in which the hops of proxies.http name their client; none: no header is believed"),

    TIME("decide.block-duration", decide.block_duration, 1, YEAR, "1h", "time of a block whose rule names none"),
    TIME("decide.max-block-duration", decide.max_block_duration, 1, YEAR, "4w", "longest block"),
    BOOL("decide.block-on-drop", decide.block_on_drop, "yes", "in detect mode a drop rule blocks the source"),
    U32("decide.max-blocks", decide.max_blocks, 1, 1000000, "100000", "blocks in force; more are refused and counted"),
    BOOL("decide.dry-run", decide.dry_run, "no", "blocks are decided and recorded, but not set"),
    BOOL("decide.kill-sockets", decide.kill_sockets, "yes",
         "the connection that carried the attack is destroyed, of a client behind a proxy too"),
    U32("decide.repeat-factor", decide.repeat_factor, 1, 100, "4",
        "each further block of a client lasts so many times as long as the one before; 1 is no growth"),
    TIME("decide.repeat-memory", decide.repeat_memory, 1, YEAR, "30d", "a block that ended longer ago does not count as one before"),
    BOOL("decide.spare-administrators", decide.spare_administrators, "yes",
         "addresses from which somebody is logged in over SSH, or was within 12 hours, are never blocked"),
    BOOL("decide.spare-local-networks", decide.spare_local_networks, "no",
         "networks that this host is directly connected to are never blocked; not those behind point-to-point links"),
    POLICY("decide.policy", decide.policy, CONF_MAX_LIST,
           "",
           "what alerts do: \"sid:[GID:]SID\", \"class:NAME\", \"tag:KEY[=VALUE]\", \"priority:N\" or \"any\", then \"never\", "
           "\"block [TIME]\" or \"score POINTS\"; the first entry that fits counts"),
    BOOL("decide.score.enabled", decide.score.enabled, "yes", "alerts of a client add up, and over the threshold it is blocked"),
    U32("decide.score.threshold", decide.score.threshold, 1, 1000000, "100", "points within the window at which a client is blocked"),
    TIME("decide.score.window", decide.score.window, 1, WEEK, "10m", "time after which points are forgotten"),
    U32("decide.score.priority-1", decide.score.priority[0], 0, 1000000, "40", "points of an alert of priority 1"),
    U32("decide.score.priority-2", decide.score.priority[1], 0, 1000000, "20", "points of an alert of priority 2"),
    U32("decide.score.priority-3", decide.score.priority[2], 0, 1000000, "5", "points of an alert of priority 3"),
    U32("decide.score.priority-other", decide.score.priority[3], 0, 1000000, "0", "points of an alert of a lower priority"),
    WORD("decide.flood.action", decide.flood.action, words_flood, "alert",
         "what a flood of connections or requests from an address or a range of addresses leads to"),
    TIME("decide.flood.window", decide.flood.window, 1, 600, "10s", "time over which the rates below are averaged"),
    U32("decide.flood.host-rate", decide.flood.host_rate, 1, 10000000, "500",
        "connections and requests a second from one address that are a flood"),
    U32("decide.flood.prefix-rate", decide.flood.prefix_rate, 1, 10000000, "2000",
        "the same of a range of addresses (IPv4 /24, IPv6 /64) of which no single one is"),
    U32("decide.brake.share", decide.brake.share, 1, 100, "10",
        "new blocks within the window stop at this percentage of the clients that were active in it"),
    U32("decide.brake.minimum", decide.brake.minimum, 0, 1000000, "20", "but so many new blocks within the window are always allowed"),
    U32("decide.brake.rate", decide.brake.rate, 1, 1000000, "200", "new blocks a second"),
    TIME("decide.brake.window", decide.brake.window, 1, 86400, "10m", "see decide.brake.share"),
    PREFIXES("never", never, CONF_MAX_LIST, "",
             "addresses that are never blocked, beside those that the agent finds itself"),

    TEXT("guard.control-socket", guard.control_socket, 1, SUN_PATH, "/run/sekisho/control.sock",
         "socket of status, blocks, reload and the like"),
    TEXT("guard.state-dir", guard.state_dir, 1, PATH_LEN, "/var/lib/sekisho", "folder of the block journal"),
    BOOL("guard.keep-blocks-on-stop", guard.keep_blocks_on_stop, "yes", "blocks stay in the kernel while the agent is stopped"),
    TIME("guard.history", guard.history, 1, 10 * YEAR, "90d", "time for which blocks that ended stay in the journal"),
    TEXT("guard.user", guard.user, 1, USER_LEN, "sekisho", "user of the engine"),
    TEXT("guard.reporter-user", guard.reporter_user, 1, USER_LEN, "sekisho-report", "user of the reporter"),

    BOOL("outputs.eve.enabled", eve.enabled, "yes", "write events as EVE JSON"),
    TEXT("outputs.eve.path", eve.path, 1, PATH_LEN, "/var/log/sekisho/eve.json", "file of the events"),
    FLAGS("outputs.eve.types", eve.types, words_eve, "alert,http,flow,drop,stats,anomaly,fileinfo", "kinds of events; floods come with alerts"),
    BOOL("outputs.eve.payload", eve.payload, "no", "alerts carry the payload in base64"),
    BOOL("outputs.eve.payload-printable", eve.payload_printable, "no", "alerts carry the payload as text"),
    WORD("manager.enabled", manager.enabled, words_tristate, "auto",
         "report to the fleet's manager and take from it; auto: when this host has enrolled (sekisho enroll)"),
    TEXT("manager.state-dir", manager.state_dir, 1, PATH_LEN, "/var/lib/sekisho/uplink",
         "folder of this host's key and certificate for the manager, and of what waits to be told"),
    SIZE64("manager.spool-size", manager.spool_size, 1 * MIB, 64 * GIB, "256mb",
           "disk for what waits while the manager cannot be reached; when it is full the oldest events go"),
    FLAGS("manager.forward", manager.forward, words_event, "alert,flood",
          "kinds of events that the manager is told, without payloads; blocks are always told"),
    BOOL("manager.fleet-blocks", manager.fleet_blocks, "yes", "block here whom the other hosts of the fleet block"),
    BOOL("manager.rules", manager.rules, "yes", "take rules from the manager, beside rule-files, when they are signed"),
    BOOL("manager.policy", manager.policy, "yes", "take settings from the manager, when they are signed"),
    TEXT("metrics.listen", metrics_listen, 0, SUN_PATH, "",
         "where metrics are served as Prometheus reads them: a unix socket (/PATH), or a port of a loopback address "
         "(127.0.0.1:9469); empty: nowhere"),
    TIME("stats.interval", stats_interval, 1, 86400, "8s", "time between stats events"),

    BOOL("decoder.vxlan.enabled", vxlan.enabled, "yes", "look into VXLAN"),
    PORTS("decoder.vxlan.ports", vxlan.ports, "4789", "UDP ports of VXLAN"),
    BOOL("decoder.geneve.enabled", geneve.enabled, "yes", "look into Geneve"),
    PORTS("decoder.geneve.ports", geneve.ports, "6081", "UDP ports of Geneve"),
    BOOL("decoder.teredo.enabled", teredo.enabled, "yes", "look into Teredo"),
    PORTS("decoder.teredo.ports", teredo.ports, "3544", "UDP ports of Teredo"),
};
/* clang-format on */

const unsigned conf_table_len = sizeof(conf_table) / sizeof(conf_table[0]);

/* Where Suricata's name for the same thing differs. */
static const struct {
    const char *from, *to;
} aliases[] = {
    {"stream.checksum-validation", "capture.checksum-validation"},
    {"pcap-file.checksum-checks", "capture.checksum-validation"},
    {"stream.reassembly.memcap", "stream.memcap"},
    {"pcre.match-limit", "detect.pcre.match-limit"},
    {"pcre.match-limit-recursion", "detect.pcre.match-limit-recursion"},
    {"packet-alert-max", "detect.max-alerts-per-packet"},
    {"stream.reassembly.toserver-chunk-size", "detect.stream-chunk"},
    {"app-layer.protocols.http.libhtp.default-config.request-body-limit", "http.request-body-limit"},
    {"app-layer.protocols.http.libhtp.default-config.response-body-limit", "http.response-body-limit"},
    {"app-layer.protocols.http.libhtp.default-config.response-body-decompress-layer-limit",
     "http.decompress-layer-limit"},
};

const char *conf_alias(const char *key)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (strcmp(aliases[i].from, key) == 0)
            return aliases[i].to;
    }
    return key;
}

bool conf_is_inert(const char *key)
{
    static const char *const inert[] = {"detect.prefilter.default", "stats.stream-events", "stats.decoder-events"};
    for (size_t i = 0; i < sizeof(inert) / sizeof(inert[0]); i++) {
        if (strcmp(inert[i], key) == 0)
            return true;
    }
    return false;
}

const struct conf_entry *conf_entry_find(const char *path)
{
    for (unsigned i = 0; i < conf_table_len; i++) {
        if (strcmp(conf_table[i].path, path) == 0)
            return &conf_table[i];
    }
    return NULL;
}

bool conf_is_section(const char *path)
{
    size_t len = strlen(path);
    for (unsigned i = 0; i < conf_table_len; i++) {
        if (strncmp(conf_table[i].path, path, len) == 0 && conf_table[i].path[len] == '.')
            return true;
    }
    return false;
}

static void show_size(uint64_t v, char buf[24])
{
    if (v > 0 && v % GIB == 0)
        snprintf(buf, 24, "%llugb", (unsigned long long)(v / GIB));
    else if (v > 0 && v % MIB == 0)
        snprintf(buf, 24, "%llumb", (unsigned long long)(v / MIB));
    else if (v > 0 && v % KIB == 0)
        snprintf(buf, 24, "%llukb", (unsigned long long)(v / KIB));
    else
        snprintf(buf, 24, "%llu", (unsigned long long)v);
}

static void show_time(uint64_t seconds, char buf[24])
{
    static const struct {
        uint64_t s;
        char c;
    } unit[] = {{WEEK, 'w'}, {86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;
    while (seconds % unit[i].s != 0)
        i++;
    snprintf(buf, 24, "%llu%c", (unsigned long long)(seconds / unit[i].s), unit[i].c);
}

/* "a, b or c" */
static void show_words(const char *const *words, const char *head, char *buf, size_t cap)
{
    size_t n = (size_t)snprintf(buf, cap, "%s", head);
    for (unsigned i = 0; words[i] != NULL && n < cap; i++) {
        const char *sep = i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ";
        n += (size_t)snprintf(buf + n, cap - n, "%s%s", sep, words[i]);
    }
}

const char *conf_allowed(const struct conf_entry *e, char *buf, size_t cap)
{
    char lo[24], hi[24];
    unsigned long long min = e->min, max = e->max;
    switch (e->type) {
    case CONF_T_BOOL: snprintf(buf, cap, "yes or no"); break;
    case CONF_T_U32: snprintf(buf, cap, "a number, %llu..%llu", min, max); break;
    case CONF_T_SIZE32:
    case CONF_T_SIZE64:
        show_size(e->min, lo);
        show_size(e->max, hi);
        snprintf(buf, cap, "a size, %s..%s", lo, hi);
        break;
    case CONF_T_TIME:
        show_time(e->min, lo);
        show_time(e->max, hi);
        snprintf(buf, cap, "a duration, %s..%s", lo, hi);
        break;
    case CONF_T_TEXT: snprintf(buf, cap, "a text of %llu..%llu characters", min, max); break;
    case CONF_T_WORD: show_words(e->words, "", buf, cap); break;
    case CONF_T_FLAGS: show_words(e->words, "a list of ", buf, cap); break;
    case CONF_T_LIST: snprintf(buf, cap, "%sa list of at most %llu", e->words ? "auto, or " : "", max); break;
    case CONF_T_PREFIXES: snprintf(buf, cap, "a list of at most %llu ADDRESS or ADDRESS/LENGTH", max); break;
    case CONF_T_POLICY: snprintf(buf, cap, "a list of at most %llu \"SELECTOR ACTION\"", max); break;
    case CONF_T_PORTS: snprintf(buf, cap, "a list of at most %d ports, %llu..%llu", CONF_MAX_PORTS, min, max); break;
    case CONF_T_GROUPS: snprintf(buf, cap, "at most %llu groups NAME: \"text\"", max); break;
    }
    return buf;
}

void conf_describe(void (*fn)(void *arg, const struct conf_key *key), void *arg)
{
    for (unsigned i = 0; i < conf_table_len; i++) {
        const struct conf_entry *e = &conf_table[i];
        struct conf_key k = {.path = e->path, .def = e->def, .help = e->help};
        conf_allowed(e, k.allowed, sizeof(k.allowed));
        fn(arg, &k);
    }
}
