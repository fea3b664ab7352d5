/*
 * Rule text (Suricata's language) to an immutable tree. Knows the language, neither flow nor protocol nor engine.
 * Life cycle: rule_loader_create, rule_loader_rules (any number of files), rule_loader_thresholds, rule_loader_finish;
 * then the set is read-only for any number of threads, until rule_set_free. Everything lies in the set's arena (at most
 * 2 GiB, 500,000 rules; past that loading ends with SK_ENOMEM or SK_EFULL). One thread loads; no I/O here.
 *
 * A rule that cannot be honoured exactly is rejected whole: a diagnostic with file:line:column and reason, and counted.
 * A rule past a maximum (64 KiB of text, 256 matches, 64 buffers, RULE_MAX_VARS variables) is rejected likewise.
 */
#ifndef RULES_RULE_H
#define RULES_RULE_H

#include "base/addr.h"
#include "base/diag.h"
#include "base/span.h"
#include "rules/buffer.h"

enum rule_action { RULE_ALERT, RULE_PASS, RULE_DROP, RULE_REJECT, RULE_REJECT_SRC, RULE_REJECT_DST, RULE_REJECT_BOTH };

enum rule_proto {
    RULE_P_IP,
    RULE_P_IP4,
    RULE_P_IP6,
    RULE_P_TCP,
    RULE_P_TCP_PKT,
    RULE_P_TCP_STREAM,
    RULE_P_UDP,
    RULE_P_ICMP4,
    RULE_P_ICMP6,
    RULE_P_ICMP,
    RULE_P_SCTP,
    RULE_P_PKTHDR,
    RULE_P_HTTP /* over TCP */
};

/*
 * Addresses and ports of a header after expansion of variables: matches when in some `pos` entry (or pos is empty) and
 * in no `neg` entry. At most one of the two lists is filled: [a,!b] is worked out into positives. Equal specs of a set
 * are the same pointer; id counts from 0 (id 0 is "any").
 */
struct rule_addr_range {
    struct sk_addr lo, hi;
};
struct rule_addr_spec {
    uint32_t id, uses; /* uses: how many times rules refer to it */
    uint32_t npos, nneg;
    const struct rule_addr_range *pos, *neg; /* sorted, merged, not overlapping */
    const char *text;                        /* as written, e.g. "$HOME_NET" */
};
bool rule_addr_match(const struct rule_addr_spec *s, const struct sk_addr *a);

struct rule_port_range {
    uint16_t lo, hi;
};
struct rule_port_spec {
    uint32_t id, n;
    const struct rule_port_range *r; /* sorted, merged; negation already resolved. n == 0: none; any is 0-65535 */
    bool any;
    const char *text;
};
bool rule_port_match(const struct rule_port_spec *s, uint16_t port);

enum rule_flow_flag {
    RULE_FLOW_TOSERVER = 1,
    RULE_FLOW_TOCLIENT = 2,
    RULE_FLOW_ESTABLISHED = 4,
    RULE_FLOW_NOT_ESTABLISHED = 8,
    RULE_FLOW_STATELESS = 16,
    RULE_FLOW_ONLY_STREAM = 32,
    RULE_FLOW_NO_STREAM = 64,
    RULE_FLOW_ONLY_FRAG = 128,
    RULE_FLOW_NO_FRAG = 256
};

/* A number compared with a packet field: dsize, ttl, urilen, bsize, ... */
enum rule_cmp {
    RULE_EQ,
    RULE_NE,
    RULE_LT,
    RULE_LE,
    RULE_GT,
    RULE_GE,
    RULE_RANGE /* lo < x < hi, exclusive, as Suricata */,
    RULE_RANGE_INCL
};
struct rule_num {
    enum rule_cmp op;
    int64_t a, b;
};
bool rule_num_match(const struct rule_num *n, int64_t x);

enum rule_match_type {
    /* on the bytes of a buffer, in the order written */
    RM_CONTENT,
    RM_PCRE,
    RM_ISDATAAT,
    RM_BYTE_TEST,
    RM_BYTE_JUMP,
    RM_BYTE_EXTRACT,
    RM_BYTE_MATH,
    RM_BSIZE,
    RM_URILEN, /* num; on http.uri (or raw, norm flag) */
    /* on the packet or flow */
    RM_DSIZE,
    RM_TCP_FLAGS,
    RM_ITYPE,
    RM_ICODE,
    RM_ICMP_ID,
    RM_ICMP_SEQ,
    RM_TTL,
    RM_IP_ID,
    RM_TOS,
    RM_IP_PROTO,
    RM_SAMEIP,
    RM_FRAGBITS,
    RM_FRAGOFFSET,
    RM_IPOPTS,
    RM_TCP_SEQ,
    RM_TCP_ACK,
    RM_TCP_WINDOW,
    RM_TCP_MSS,
    RM_STREAM_SIZE,
    RM_FLOWBITS,
    RM_DECODE_EVENT,
    RM_STREAM_EVENT,
    RM_APP_PROTO
};

#define RULE_VAR_NONE (-1)
#define RULE_MAX_VARS 8 /* byte_extract and byte_math results of a rule; more is rejected */

enum rule_content_flag {
    RC_NOCASE = 1,
    RC_NEGATED = 2,
    RC_OFFSET = 4,
    RC_DEPTH = 8,
    RC_DISTANCE = 16,
    RC_WITHIN = 32,
    RC_RELATIVE = 48,
    RC_STARTSWITH = 64, /* offset 0, depth len: already expressed so */
    RC_ENDSWITH = 128,
    RC_FAST_PATTERN = 256,
    RC_FAST_PATTERN_ONLY = 512,
    RC_FAST_PATTERN_CHOP = 1024,
    RC_RAWBYTES = 2048
};
struct rule_content {
    const uint8_t *p;
    uint16_t len;
    uint16_t flags; /* enum rule_content_flag */
    int32_t offset, depth, distance,
        within; /* valid by flag; depth counts from the start of the buffer: match ends <= offset + depth */
    int8_t offset_var, depth_var, distance_var, within_var; /* index of a variable instead, or RULE_VAR_NONE */
    uint16_t fp_off, fp_len;                                /* fast_pattern:off,len when RC_FAST_PATTERN_CHOP */
};

enum rule_pcre_flag { RP_RELATIVE = 1, RP_NEGATED = 2 };
struct rule_pcre {
    const char *expr; /* NUL-terminated, delimiters removed */
    uint32_t options; /* PCRE2_CASELESS etc., the library's values */
    uint8_t flags;    /* enum rule_pcre_flag */
};

struct rule_isdataat {
    int32_t pos;
    int8_t pos_var;
    bool relative, negated;
};

enum rule_bt_op { BT_LT, BT_GT, BT_EQ, BT_LE, BT_GE, BT_AND, BT_OR /* ^ */ };
/* BB_AUTO: text digits, 0x.. hexadecimal, 0.. octal, else decimal (byte_test and byte_jump with plain `string`). */
enum rule_byte_base { BB_BIN, BB_HEX, BB_OCT, BB_DEC, BB_AUTO };
struct rule_byte_common {
    uint8_t nbytes; /* 1..8 binary, 1..23 string. 0 with a string (byte_test, byte_jump): digits as far as they reach;
                       0 in a binary byte_jump: nothing is read, the value is 0 */
    uint8_t base;   /* enum rule_byte_base; not BB_BIN: text digits */
    bool relative, little, dce;
    int32_t offset;
    int8_t nbytes_var, offset_var;
    uint64_t bitmask; /* 0: none */
    uint8_t bitmask_shift;
};
struct rule_byte_test {
    struct rule_byte_common c;
    enum rule_bt_op op;
    bool negated;
    uint64_t value;
    int8_t value_var;
};
struct rule_byte_jump {
    struct rule_byte_common c;
    int32_t multiplier, post_offset;
    int8_t post_offset_var;
    bool align, from_beginning, from_end;
};
struct rule_byte_extract {
    struct rule_byte_common c;
    int8_t var;
    uint32_t multiplier;
    uint8_t align; /* 0, 2, 4 */
};
enum rule_math_op { /* unsigned, modulo 2^64; division by zero is no match */
                    BM_ADD,
                    BM_SUB,
                    BM_MUL,
                    BM_DIV,
                    BM_LSHIFT,
                    BM_RSHIFT
};
struct rule_byte_math {
    struct rule_byte_common c;
    enum rule_math_op op;
    uint64_t rvalue;
    int8_t rvalue_var, result_var;
};

enum rule_flowbits_op { FB_SET, FB_UNSET, FB_TOGGLE, FB_ISSET, FB_ISNOTSET };
struct rule_flowbits {
    enum rule_flowbits_op op;
    uint16_t nbits;
    const uint16_t *bits; /* isset a|b: any of */
};

/* tcp.flags: modifier 0 exact, '+' all of, '*' any of, '!' none of; mask: bits ignored */
struct rule_tcp_flags {
    uint8_t flags, ignore;
    char mod;
};
struct rule_fragbits {
    uint8_t bits; /* 1 M, 2 D, 4 R */
    char mod;     /* 0 exact, '+', '*', '!' */
};
/* stream_size: which 0 server, 1 client, 2 both, 3 either */
struct rule_stream_size {
    uint8_t which;
    enum rule_cmp op;
    uint32_t size;
};
/* Which side's protocol app-layer-protocol means: that of the inspected direction, one side's, any of the two, before
 * or after a protocol change. */
enum rule_app_dir { RULE_APP_PACKET, RULE_APP_TS, RULE_APP_TC, RULE_APP_EITHER, RULE_APP_ORIGINAL, RULE_APP_FINAL };
struct rule_name {
    const char *name;
    bool negated;
    uint8_t dir; /* enum rule_app_dir */
};               /* events, app-layer-protocol, ipopts ... */

struct rule_match {
    enum rule_match_type type;
    uint32_t line, col; /* where it stands */
    union {
        struct rule_content content;
        struct rule_pcre pcre;
        struct rule_isdataat isdataat;
        struct rule_byte_test byte_test;
        struct rule_byte_jump byte_jump;
        struct rule_byte_extract byte_extract;
        struct rule_byte_math byte_math;
        struct rule_flowbits flowbits;
        struct rule_tcp_flags tcp_flags;
        struct rule_fragbits fragbits;
        struct rule_stream_size stream_size;
        struct rule_name name;
        /* RM_BSIZE, URILEN, DSIZE, ITYPE, ICODE, TTL, IP_PROTO, FRAGOFFSET (in 8-byte units), TCP_MSS; negated only
         * with a range */
        struct {
            struct rule_num n;
            bool negated;
        } num;
        struct {
            uint32_t value;
            bool negated;
        } value; /* RM_ICMP_ID, ICMP_SEQ, IP_ID, TOS, TCP_SEQ, TCP_ACK, TCP_WINDOW */
    };
};

/* The matches that share one buffer (and its transforms), in the order written. */
struct rule_inspect {
    enum rule_buf buf;
    uint8_t nxf, xf[RULE_MAX_TRANSFORMS]; /* enum rule_transform */
    uint16_t n;
    const struct rule_match *m;
};

enum rule_track { RULE_BY_SRC, RULE_BY_DST, RULE_BY_BOTH, RULE_BY_RULE, RULE_BY_FLOW };
enum rule_threshold_type {
    RULE_TH_NONE,
    RULE_TH_LIMIT,
    RULE_TH_THRESHOLD,
    RULE_TH_BOTH,
    RULE_TH_DETECTION_FILTER,
    RULE_TH_RATE,
    RULE_TH_BACKOFF
};
struct rule_threshold {
    enum rule_threshold_type type;
    enum rule_track track;
    uint32_t count, seconds, multiplier;
};

/* track: RULE_BY_SRC, RULE_BY_DST, RULE_BY_BOTH (either of the two) */
struct rule_suppress {
    enum rule_track track;
    const struct rule_addr_spec *ip; /* NULL: always */
};

struct rule {
    enum rule_action action;
    enum rule_proto proto;
    const struct rule_addr_spec *src, *dst;
    const struct rule_port_spec *sport, *dport;
    bool bidir; /* <> ; also matches with source and destination exchanged */

    uint32_t sid, gid, rev;
    uint8_t priority; /* 1..255 */
    bool pass_alert;  /* `alert`: a pass rule that is told */
    bool noalert;
    const char *msg;        /* "" when absent */
    const char *classtype;  /* short name, or NULL */
    const char *class_text; /* description, "" when unknown */
    uint16_t nmeta;
    const char *const *meta; /* key, value alternating: 2 * nmeta strings */
    uint16_t nref;
    const char *const *ref; /* "type,value" strings */
    enum { RULE_TARGET_NONE, RULE_TARGET_SRC, RULE_TARGET_DST } target;

    uint16_t flow; /* enum rule_flow_flag */
    uint16_t ninspect;
    const struct rule_inspect *inspect; /* one per (buffer, transforms), in order of first appearance */
    uint16_t npkt;
    const struct rule_match *pkt;     /* matches on packet or flow */
    struct rule_threshold threshold;  /* threshold: */
    struct rule_threshold det_filter; /* detection_filter: */
    uint16_t nsuppress;
    const struct rule_suppress *suppress; /* from the threshold file */
    bool prefilter_pkt;                   /* `prefilter` keyword */
    int64_t block_seconds;                /* metadata sekisho_block DURATION; 0: not given; -1: never */
    uint8_t nvars;

    const char *file;
    uint32_t line;
    uint32_t index;  /* position in the set, dense */
    const char *raw; /* the text, for EVE and explain */
};

struct rule_var {
    const char *name, *text;
};
struct rule_conf {
    const struct rule_var *addr_vars, *port_vars; /* without '$' */
    unsigned naddr, nport;
};

struct rule_set {
    uint32_t n;
    const struct rule *const *rules; /* by index; file order */
    uint32_t rejected, disabled;     /* counted; a commented-out rule is neither */
    uint32_t nbits;                  /* distinct flowbit names */
    const char *const *bit_names;
    uint32_t naddr, nport;                     /* distinct specs */
    const struct rule_addr_spec *const *addrs; /* by id */
    const struct rule_port_spec *const *ports;
};

struct rule_loader; /* the set under construction */

SK_MUST_USE int rule_loader_create(const struct rule_conf *conf, const struct sk_diag_sink *sink,
                                   struct rule_loader **out);
/* Suricata's classification.config text; replaces the built-in table. SK_EINVAL when a line is bad (the others count).
 */
SK_MUST_USE int rule_loader_classification(struct rule_loader *l, const char *name, const char *text, size_t len);
/* One rule file's text; continues after a bad rule. Returns the number of rules rejected, or an error. */
SK_MUST_USE int rule_loader_rules(struct rule_loader *l, const char *name, const char *text, size_t len);
/* Suricata's threshold.config: threshold, suppress, rate_filter lines; applies to what is loaded. After the rules.
 * Returns the number of lines refused, or an error. */
SK_MUST_USE int rule_loader_thresholds(struct rule_loader *l, const char *name, const char *text, size_t len);
/* An address list as rules write it ("$EXTERNAL_NET"); it lives as long as the set. SK_EINVAL without a word when it is
 * none. */
SK_MUST_USE int rule_loader_addrs(struct rule_loader *l, const char *text, const struct rule_addr_spec **out);
/* Checks across rules (flowbits read but never set: a note). Frees the loader.
 * A duplicate gid and sid is met while loading: a higher rev replaces the older, with a warning; any other is rejected.
 */
SK_MUST_USE int rule_loader_finish(struct rule_loader *l, const struct rule_set **out);
void rule_loader_free(struct rule_loader *l);
void rule_set_free(const struct rule_set *s);

#endif
