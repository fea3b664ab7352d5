/* isdataat, byte_test, byte_jump, byte_extract, byte_math */
#include <ctype.h>

#include "parse.h"

#define OFFSET_MAX 65535

/* A number or the name of a variable that the same buffer has set. */
static int num_or_var(struct rule_parse *p, struct sk_span s, int64_t min, int64_t max, int buf, int64_t *n,
                      int8_t *var)
{
    *var = RULE_VAR_NONE;
    if (rule_var_name_ok(s)) {
        if (rule_var_find(p, s, buf, var))
            return SK_OK;
        /* Suricata carries variables from one buffer of a transaction to another, though not out of the payload. */
        if (rule_var_find(p, s, -1, var) && p->buf[p->var[*var].buf].buf != RULE_BUF_PAYLOAD)
            return rule_unsupported(p, (const char *)s.p, "variable '%.*s' of another buffer is not supported yet",
                                    (int)s.len, (const char *)s.p);
        return rule_fail(p, (const char *)s.p, "unknown byte_extract or byte_math variable '%.*s' in this buffer",
                         (int)s.len, (const char *)s.p);
    }
    if (text_i64(s, min, max, n))
        return SK_OK;
    return rule_fail(p, s.len ? (const char *)s.p : p->val_at,
                     "'%.*s' is not a number from %lld to %lld, nor a variable", (int)s.len, (const char *)s.p,
                     (long long)min, (long long)max);
}

int kw_isdataat(struct rule_parse *p)
{
    struct sk_span rest = p->val, num, w;
    bool relative = false;
    (void)text_next(&rest, ',', &num);
    while (text_next(&rest, ',', &w)) {
        if (text_is(w, "relative"))
            relative = true;
        else if (!text_is(w, "rawbytes"))
            return rule_fail(p, (const char *)w.p, "isdataat knows 'relative' and 'rawbytes', not '%.*s'", (int)w.len,
                             (const char *)w.p);
    }
    int buf = rule_buf_relative(p, relative);
    int64_t n = 0;
    int8_t var;
    int rc = buf < 0 ? SK_EINVAL : num_or_var(p, num, 0, UINT16_MAX, buf, &n, &var);
    if (rc != SK_OK)
        return rc;
    struct draft_match *last = p->n ? &p->m[p->n - 1] : NULL;
    if (last && last->m.type == RM_CONTENT && last->buf == buf && n == 1 && var == RULE_VAR_NONE && relative &&
        p->negated) {
        last->m.content.flags |= RC_ENDSWITH; /* the same thing, and cheaper */
        return SK_OK;
    }
    struct draft_match *d = rule_add_match(p, RM_ISDATAAT, buf);
    if (!d)
        return SK_EINVAL;
    d->m.isdataat =
        (struct rule_isdataat){.pos = (int32_t)n, .pos_var = var, .relative = relative, .negated = p->negated};
    return SK_OK;
}

/* What the four byte keywords share: the state while their words are read. */
struct byte_words {
    struct rule_parse *p;
    struct rule_byte_common *c;
    bool endian, string, base;
};

static void common_init(struct rule_byte_common *c)
{
    *c = (struct rule_byte_common){.nbytes_var = RULE_VAR_NONE, .offset_var = RULE_VAR_NONE};
}

/* 1: taken; 0: not a common word; negative: wrong. */
static int common_word(struct byte_words *b, struct sk_span w)
{
    static const struct {
        const char *name;
        enum rule_byte_base base;
    } bases[] = {{"hex", BB_HEX}, {"dec", BB_DEC}, {"oct", BB_OCT}};
    struct sk_span v;
    for (unsigned i = 0; i < 3; i++)
        if (text_is(w, bases[i].name)) {
            if (b->base)
                return rule_fail(b->p, (const char *)w.p, "a second base");
            b->base = true;
            b->c->base = bases[i].base;
            return 1;
        }
    if (text_is(w, "relative")) {
        b->c->relative = true;
    } else if (text_is(w, "little") || text_is(w, "big")) {
        if (b->endian)
            return rule_fail(b->p, (const char *)w.p, "a second byte order");
        b->endian = true;
        b->c->little = text_is(w, "little");
    } else if (text_is(w, "string")) {
        b->string = true;
    } else if (text_is(w, "dce")) {
        return rule_unsupported(b->p, (const char *)w.p, "'dce' in %s is not supported yet", b->p->kw->name);
    } else if (text_key(w, "bitmask", &v)) {
        if (!text_u64(v, UINT32_MAX, &b->c->bitmask) || b->c->bitmask == 0)
            return rule_fail(b->p, (const char *)v.p, "bitmask must be a number from 1 to 0xffffffff");
        b->c->bitmask_shift = (uint8_t)__builtin_ctzll(b->c->bitmask);
    } else {
        return 0;
    }
    return 1;
}

/* Settles the base and checks sizes. plain: base of `string` without one. */
static int common_done(struct byte_words *b, enum rule_byte_base plain, unsigned min)
{
    struct rule_byte_common *c = b->c;
    static const uint8_t most[] = {[BB_BIN] = 8, [BB_HEX] = 14, [BB_OCT] = 23, [BB_DEC] = 20, [BB_AUTO] = 23};
    if (b->base && !b->string)
        return rule_fail(b->p, b->p->val_at, "hex, dec and oct need 'string'");
    if (b->string && b->endian)
        return rule_fail(b->p, b->p->val_at, "byte order does not go with 'string'");
    if (b->string && !b->base)
        c->base = plain;
    if (c->nbytes_var == RULE_VAR_NONE && (c->nbytes < min || c->nbytes > most[c->base]))
        return rule_fail(b->p, b->p->val_at, "number of bytes must be from %u to %u here", min, most[c->base]);
    return SK_OK;
}

/* Whether the words of a value contain `relative`: needed to know the buffer before variables are looked up. */
static bool has_relative(struct sk_span v)
{
    struct sk_span w;
    while (text_next(&v, ',', &w))
        if (text_is(w, "relative"))
            return true;
    return false;
}

static int take(struct rule_parse *p, struct sk_span *rest, const char *what, struct sk_span *out)
{
    if (text_next(rest, ',', out) && out->len)
        return SK_OK;
    return rule_fail(p, p->val_at, "'%s' needs %s", p->kw->name, what);
}

static int bytes_and_offset(struct rule_parse *p, struct rule_byte_common *c, struct sk_span nbytes,
                            struct sk_span offset, int buf)
{
    int64_t n = 0, o = 0;
    int rc = num_or_var(p, nbytes, 0, 23, buf, &n, &c->nbytes_var);
    if (rc == SK_OK)
        rc = num_or_var(p, offset, -OFFSET_MAX, OFFSET_MAX, buf, &o, &c->offset_var);
    c->nbytes = (uint8_t)n;
    c->offset = (int32_t)o;
    return rc;
}

static int unknown_word(struct rule_parse *p, struct sk_span w)
{
    return rule_fail(p, w.len ? (const char *)w.p : p->val_at, "'%.*s' is not an option of %s",
                     (int)(w.len > 40 ? 40 : w.len), (const char *)w.p, p->kw->name);
}

static int test_op(struct rule_parse *p, struct sk_span s, struct rule_byte_test *t)
{
    static const struct {
        const char *text;
        enum rule_bt_op op;
    } ops[] = {{"<=", BT_LE}, {">=", BT_GE}, {"<", BT_LT}, {">", BT_GT},
               {"=", BT_EQ},  {"&", BT_AND}, {"^", BT_OR}, {"", BT_EQ}};
    struct sk_span o = s;
    if (o.len && o.p[0] == '!') {
        t->negated = true;
        o = text_trim(sk_span_of(o.p + 1, o.len - 1));
    }
    for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++)
        if (text_is(o, ops[i].text) && (o.len || t->negated)) {
            t->op = ops[i].op;
            return SK_OK;
        }
    return rule_fail(p, (const char *)s.p, "'%.*s' is not an operator of byte_test (< > = <= >= & ^, negated with !)",
                     (int)s.len, (const char *)s.p);
}

int kw_byte_test(struct rule_parse *p)
{
    struct rule_byte_test t = {.value_var = RULE_VAR_NONE};
    struct byte_words b = {.p = p, .c = &t.c};
    struct sk_span rest = p->val, nb, op, val, off, w;
    common_init(&t.c);
    int buf = rule_buf_relative(p, has_relative(p->val));
    if (buf < 0 || take(p, &rest, "a number of bytes", &nb) || take(p, &rest, "an operator", &op) ||
        take(p, &rest, "a value", &val) || take(p, &rest, "an offset", &off) ||
        bytes_and_offset(p, &t.c, nb, off, buf) || test_op(p, op, &t))
        return SK_EINVAL;
    if (!text_u64(val, UINT64_MAX, &t.value)) {
        int64_t n = 0;
        if (num_or_var(p, val, 0, INT64_MAX, buf, &n, &t.value_var))
            return SK_EINVAL;
    }
    while (text_next(&rest, ',', &w)) {
        int rc = common_word(&b, w);
        if (rc <= 0)
            return rc ? rc : unknown_word(p, w);
    }
    int rc = common_done(&b, BB_AUTO, b.string ? 0 : 1);
    struct draft_match *d = rc == SK_OK ? rule_add_match(p, RM_BYTE_TEST, buf) : NULL;
    if (!d)
        return SK_EINVAL;
    d->m.byte_test = t;
    return SK_OK;
}

static int jump_word(struct rule_parse *p, struct rule_byte_jump *j, struct sk_span w, int buf)
{
    struct sk_span v;
    int64_t n = 0;
    if (text_is(w, "align")) {
        j->align = true;
    } else if (text_is(w, "from_beginning")) {
        j->from_beginning = true;
    } else if (text_is(w, "from_end")) {
        j->from_end = true;
    } else if (text_key(w, "multiplier", &v)) {
        if (!text_i64(v, 1, UINT16_MAX, &n))
            return rule_fail(p, (const char *)v.p, "multiplier must be from 1 to 65535");
        j->multiplier = (int32_t)n;
    } else if (text_key(w, "post_offset", &v)) {
        int rc = num_or_var(p, v, -OFFSET_MAX, OFFSET_MAX, buf, &n, &j->post_offset_var);
        j->post_offset = (int32_t)n;
        return rc;
    } else {
        return unknown_word(p, w);
    }
    return SK_OK;
}

int kw_byte_jump(struct rule_parse *p)
{
    struct rule_byte_jump j = {.multiplier = 1, .post_offset_var = RULE_VAR_NONE};
    struct byte_words b = {.p = p, .c = &j.c};
    struct sk_span rest = p->val, nb, off, w;
    common_init(&j.c);
    int buf = rule_buf_relative(p, has_relative(p->val));
    if (buf < 0 || take(p, &rest, "a number of bytes", &nb) || take(p, &rest, "an offset", &off) ||
        bytes_and_offset(p, &j.c, nb, off, buf))
        return SK_EINVAL;
    while (text_next(&rest, ',', &w)) {
        int rc = common_word(&b, w);
        if (rc < 0 || (rc == 0 && jump_word(p, &j, w, buf)))
            return SK_EINVAL;
    }
    if (j.from_beginning && j.from_end)
        return rule_fail(p, p->val_at, "from_beginning and from_end do not go together");
    int rc = common_done(&b, BB_AUTO, 0);
    struct draft_match *d = rc == SK_OK ? rule_add_match(p, RM_BYTE_JUMP, buf) : NULL;
    if (!d)
        return SK_EINVAL;
    d->m.byte_jump = j;
    return SK_OK;
}

static int extract_word(struct rule_parse *p, struct rule_byte_extract *e, struct sk_span w)
{
    struct sk_span v;
    uint64_t n;
    if (text_key(w, "multiplier", &v)) {
        if (!text_dec(v, UINT16_MAX, &n) || n == 0)
            return rule_fail(p, (const char *)v.p, "multiplier must be from 1 to 65535");
        e->multiplier = (uint32_t)n;
    } else if (text_key(w, "align", &v)) {
        if (!text_dec(v, 4, &n) || (n != 2 && n != 4))
            return rule_fail(p, (const char *)v.p, "align must be 2 or 4");
        e->align = (uint8_t)n;
    } else {
        return unknown_word(p, w);
    }
    return SK_OK;
}

int kw_byte_extract(struct rule_parse *p)
{
    struct rule_byte_extract e = {.multiplier = 1};
    struct byte_words b = {.p = p, .c = &e.c};
    struct sk_span rest = p->val, nb, off, name, w;
    common_init(&e.c);
    int buf = rule_buf_relative(p, has_relative(p->val));
    if (buf < 0 || take(p, &rest, "a number of bytes", &nb) || take(p, &rest, "an offset", &off) ||
        take(p, &rest, "a variable name", &name) || bytes_and_offset(p, &e.c, nb, off, buf))
        return SK_EINVAL;
    while (text_next(&rest, ',', &w)) {
        int rc = common_word(&b, w);
        if (rc < 0 || (rc == 0 && extract_word(p, &e, w)))
            return SK_EINVAL;
    }
    if (e.c.nbytes_var != RULE_VAR_NONE || e.c.offset_var != RULE_VAR_NONE)
        return rule_fail(p, p->val_at, "byte_extract takes numbers for bytes and offset");
    if (common_done(&b, BB_DEC, 1) || rule_var_add(p, name, buf, &e.var))
        return SK_EINVAL;
    struct draft_match *d = rule_add_match(p, RM_BYTE_EXTRACT, buf);
    if (!d)
        return SK_EINVAL;
    d->m.byte_extract = e;
    return SK_OK;
}

struct math_words {
    struct sk_span bytes, offset, oper, rvalue, result;
};

static int math_word(struct byte_words *b, struct math_words *m, struct sk_span w)
{
    struct {
        const char *key;
        struct sk_span *to;
    } const keys[] = {{"bytes", &m->bytes},
                      {"offset", &m->offset},
                      {"oper", &m->oper},
                      {"rvalue", &m->rvalue},
                      {"result", &m->result}};
    struct sk_span v;
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
        if (text_key(w, keys[i].key, &v)) {
            if (keys[i].to->len)
                return rule_fail(b->p, (const char *)w.p, "'%s' is given twice", keys[i].key);
            *keys[i].to = v;
            return SK_OK;
        }
    if (text_key(w, "endian", &v)) {
        w = v;
    } else if (text_key(w, "string", &v)) {
        b->string = true;
        w = v;
    }
    int rc = common_word(b, w);
    return rc == 0 ? unknown_word(b->p, w) : rc < 0 ? rc : SK_OK;
}

static int math_op(struct rule_parse *p, struct sk_span s, enum rule_math_op *op)
{
    static const struct {
        const char *text;
        enum rule_math_op op;
    } ops[] = {{"+", BM_ADD}, {"-", BM_SUB}, {"*", BM_MUL}, {"/", BM_DIV}, {"<<", BM_LSHIFT}, {">>", BM_RSHIFT}};
    for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++)
        if (text_is(s, ops[i].text)) {
            *op = ops[i].op;
            return SK_OK;
        }
    return rule_fail(p, (const char *)s.p, "'%.*s' is not an operator of byte_math (+ - * / << >>)", (int)s.len,
                     (const char *)s.p);
}

static int math_values(struct rule_parse *p, struct rule_byte_math *m, const struct math_words *w, int buf)
{
    if (!w->bytes.len || !w->offset.len || !w->oper.len || !w->rvalue.len || !w->result.len)
        return rule_fail(p, p->val_at, "byte_math needs bytes, offset, oper, rvalue and result");
    int64_t n = 0;
    int rc = bytes_and_offset(p, &m->c, w->bytes, w->offset, buf);
    if (rc == SK_OK)
        rc = math_op(p, w->oper, &m->op);
    if (rc == SK_OK)
        rc = num_or_var(p, w->rvalue, 0, UINT32_MAX, buf, &n, &m->rvalue_var);
    m->rvalue = (uint64_t)n;
    if (rc == SK_OK && m->op == BM_DIV && m->rvalue_var == RULE_VAR_NONE && n == 0)
        return rule_fail(p, (const char *)w->rvalue.p, "division by zero");
    return rc;
}

int kw_byte_math(struct rule_parse *p)
{
    struct rule_byte_math m = {.rvalue_var = RULE_VAR_NONE};
    struct byte_words b = {.p = p, .c = &m.c};
    struct math_words words = {0};
    struct sk_span rest = p->val, w;
    common_init(&m.c);
    int buf = rule_buf_relative(p, has_relative(p->val));
    while (text_next(&rest, ',', &w))
        if (math_word(&b, &words, w) != SK_OK)
            return SK_EINVAL;
    if (buf < 0 || math_values(p, &m, &words, buf) || common_done(&b, BB_DEC, 1) ||
        rule_var_add(p, words.result, buf, &m.result_var))
        return SK_EINVAL;
    struct draft_match *d = rule_add_match(p, RM_BYTE_MATH, buf);
    if (!d)
        return SK_EINVAL;
    d->m.byte_math = m;
    return SK_OK;
}
