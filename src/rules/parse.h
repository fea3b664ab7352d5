/*
 * Internal to rules/: the loader and the draft of the rule being parsed. A draft lives in the loader and is reused;
 * what a rule keeps is copied into the set's arena when the whole rule is good.
 */
#ifndef RULES_PARSE_H
#define RULES_PARSE_H

#include "base/arena.h"
#include "rules/keyword.h"
#include "rules/rule.h"
#include "intern.h"

/* One rule past a maximum is rejected with a diagnostic; a set past a maximum ends loading with SK_EFULL. */
#define RULE_MAX_TEXT    65536
#define RULE_MAX_MATCHES 256
#define RULE_MAX_INSPECT 64
#define RULE_MAX_META    128
#define RULE_MAX_REF     64
#define RULE_MAX_SEGS    1024 /* physical lines of one rule */
#define RULE_MAX_RULES   500000
#define RULE_MAX_BITS    60000
#define RULE_MAX_ARENA   ((size_t)2 << 30)

/* Where a piece of the joined text came from. */
struct text_seg {
    uint32_t off, line, col;
};

struct draft_match {
    struct rule_match m;
    int16_t buf; /* index in rule_parse.buf, -1: packet or flow */
    const char *at;
};

struct draft_buf {
    enum rule_buf buf;
    uint8_t nxf, xf[RULE_MAX_TRANSFORMS];
    bool sticky; /* named by a sticky keyword: must get a match */
    bool used;
    const char *at;
};

struct draft_var {
    struct sk_span name;
    int16_t buf;
    uint16_t match; /* its producer */
};

struct rule_keyword;
struct rule_loader;

struct rule_parse {
    struct rule_loader *l;
    const char *file;
    const char *text;
    size_t len;
    const struct text_seg *seg;
    unsigned nseg;

    struct rule r; /* plain values and arena pointers */
    unsigned n, nbuf, nvar;
    struct draft_match m[RULE_MAX_MATCHES];
    struct draft_buf buf[RULE_MAX_INSPECT];
    struct draft_var var[RULE_MAX_VARS];
    const char *meta[RULE_MAX_META * 2];
    const char *ref[RULE_MAX_REF];

    int cur;               /* sticky buffer now, or -1 */
    bool fresh;            /* a sticky buffer was named and nothing has matched on it: transforms may follow */
    uint32_t seen;         /* enum seen_once */
    const char *http_at;   /* first keyword that needs HTTP */
    const char *packet_at; /* first keyword that needs a packet */
    const char *flow_at;
    const char *thresh_at;

    const struct rule_keyword *kw;
    const char *kw_at;
    struct sk_span val; /* trimmed, without quotes */
    const char *val_at;
    bool has_val, negated;
};

enum seen_once {
    SEEN_MSG = 1,
    SEEN_SID = 2,
    SEEN_REV = 4,
    SEEN_GID = 8,
    SEEN_CLASS = 16,
    SEEN_PRIO = 32,
    SEEN_FLOW = 64,
    SEEN_TARGET = 128,
    SEEN_BLOCK = 256
};

typedef int rule_keyword_fn(struct rule_parse *p);

enum kw_flag {
    KW_NONE = 0,   /* takes no value */
    KW_VAL = 1,    /* must have a value */
    KW_OPT = 2,    /* may have one */
    KW_QUOTED = 4, /* value must stand in quotes */
    KW_QUOTES = 8, /* value may stand in quotes */
    KW_NEG = 16,   /* value may be negated with ! before the quote */
    KW_PACKET = 32 /* makes the rule one about a packet */
};

struct rule_keyword {
    const char *name;
    rule_keyword_fn *fn; /* NULL: known and not supported */
    uint16_t flags;
    uint16_t arg;
    const char *help;
};
extern const struct rule_keyword rule_keywords[];
extern const unsigned rule_keyword_count;
const struct rule_keyword *rule_keyword_find(const char *name, size_t len);
const char *rule_keyword_near(const char *name, size_t len); /* a likely misspelling, or NULL */

struct class_entry {
    const char *name, *text;
    uint8_t priority;
};

struct rule_set_store {
    struct rule_set pub;
    struct sk_arena arena;
};

struct rule_loader {
    struct rule_conf conf;
    struct sk_diag_sink sink;
    struct rule_set_store *set;
    struct sk_arena *arena; /* of the set */
    struct rule **rule;
    uint32_t n, cap;
    uint32_t rejected;
    struct intern addr_text, addr_canon, port_text, port_canon, bits, sids, classes, strings;
    struct rule_addr_spec **addrs;
    uint32_t naddr, addr_cap;
    struct rule_port_spec **ports;
    uint32_t nport, port_cap;
    const char **bit_name;
    uint8_t *bit_use; /* 1 set, 2 read */
    uint32_t nbits, bit_cap;
    bool warned_nothing;
    bool nomem;
    struct rule_parse p;
    struct text_seg seg[RULE_MAX_SEGS];
    char join[RULE_MAX_TEXT + 1];
};

/* diagnostics: at points into the rule's text. Return SK_EINVAL, so that handlers can return them. */
int rule_fail(struct rule_parse *p, const char *at, const char *fmt, ...) SK_PRINTF(3, 4);
/* The same for what the language allows and this program cannot honour. */
int rule_unsupported(struct rule_parse *p, const char *at, const char *fmt, ...) SK_PRINTF(3, 4);
void rule_warn(struct rule_parse *p, const char *at, const char *fmt, ...) SK_PRINTF(3, 4);
void rule_position(const struct rule_parse *p, const char *at, uint32_t *line, uint32_t *col);
int rule_nomem(struct rule_parse *p);

/* text helpers; spans point into the rule's text */
struct sk_span text_trim(struct sk_span s);
/* The piece before sep, trimmed; *rest moves past it. False at the end. */
bool text_next(struct sk_span *rest, char sep, struct sk_span *out);
bool text_is(struct sk_span s, const char *word);             /* ASCII case-insensitive */
bool text_u64(struct sk_span s, uint64_t max, uint64_t *out); /* decimal or 0x */
bool text_dec(struct sk_span s, uint64_t max, uint64_t *out); /* decimal only */
bool text_i64(struct sk_span s, int64_t min, int64_t max, int64_t *out);
/* "word value": value of the given key, or false */
bool text_key(struct sk_span s, const char *key, struct sk_span *val);
bool text_num(struct sk_span s, uint64_t max, struct rule_num *n, bool *negated);
bool text_duration(struct sk_span s, int64_t *seconds);

char *rule_strdup(struct rule_parse *p, struct sk_span s);
struct draft_match *rule_add_match(struct rule_parse *p, enum rule_match_type t, int buf);
struct draft_match *rule_last_content(struct rule_parse *p);
int rule_buf_get(struct rule_parse *p, enum rule_buf b); /* draft index, or -1 after a diagnostic */
int rule_buf_current(struct rule_parse *p);              /* sticky or payload */
int rule_buf_relative(struct rule_parse *p, bool relative);
bool rule_var_find(struct rule_parse *p, struct sk_span name, int buf, int8_t *out);
int rule_var_add(struct rule_parse *p, struct sk_span name, int buf, int8_t *out);
bool rule_var_name_ok(struct sk_span s);

int rule_header(struct rule_parse *p, const char **body);
int rule_check(struct rule_parse *p);
int rule_build(struct rule_parse *p);
/* Parses one logical rule; its text is in p. */
int rule_one(struct rule_loader *l);

/* NULL after a diagnostic */
const struct rule_addr_spec *rule_addr_parse(struct rule_parse *p, struct sk_span s);
const struct rule_port_spec *rule_port_parse(struct rule_parse *p, struct sk_span s);

int rule_classes_builtin(struct rule_loader *l);
const struct class_entry *rule_class_find(struct rule_loader *l, struct sk_span name);
int rule_bit_get(struct rule_parse *p, struct sk_span name, uint8_t use, uint16_t *out);

/* handlers */
rule_keyword_fn kw_msg, kw_sid, kw_rev, kw_gid, kw_classtype, kw_priority, kw_reference, kw_metadata, kw_target;
rule_keyword_fn kw_alert, kw_noalert, kw_threshold, kw_detection_filter, kw_flow, kw_flowbits, kw_prefilter;
rule_keyword_fn kw_content, kw_uricontent, kw_nocase, kw_depth, kw_offset, kw_distance, kw_within, kw_startswith;
rule_keyword_fn kw_endswith, kw_fast_pattern, kw_rawbytes, kw_pcre, kw_sticky, kw_http_modifier, kw_pkt_data;
rule_keyword_fn kw_transform, kw_isdataat, kw_bsize, kw_urilen, kw_byte_test, kw_byte_jump, kw_byte_extract;
rule_keyword_fn kw_byte_math, kw_number, kw_value, kw_ip_proto, kw_sameip, kw_tcp_flags, kw_fragbits, kw_ipopts;
rule_keyword_fn kw_stream_size, kw_event, kw_app_proto, kw_fragoffset;

struct threshold_parse {
    struct rule_threshold t;
    bool type, track, count, seconds;
};
/* "type limit, track by_src, count 1, seconds 60" in any order. Returns NULL, or what is wrong (static), *bad the
 * piece. */
const char *threshold_pieces(struct sk_span s, bool with_type, struct threshold_parse *out, struct sk_span *bad);

#endif
