/* byte_test, byte_jump, byte_extract, byte_math: numbers read from the buffer. */
#include "inspect_internal.h"

#include <errno.h>
#include <stdlib.h>

#define STRING_MAX 23 /* digits: the largest octal number of 64 bits with a leading zero */

/* What was read, where it stood, and how many bytes were digits (or were read). */
struct number {
    uint64_t val;
    int64_t pos;
    int64_t used;
};

static bool read_binary(const uint8_t *p, int64_t n, bool little, uint64_t *out)
{
    uint64_t v = 0;
    if (n > 8)
        return false;
    for (int64_t i = 0; i < n; i++)
        v = v << 8 | p[little ? n - 1 - i : i];
    *out = v;
    return true;
}

/* As strtoull reads: leading blanks and a sign are allowed; stops at the first byte that is no digit. */
static bool read_string(const uint8_t *p, int64_t n, int base, struct number *num)
{
    char text[STRING_MAX + 1], *end;
    if (n < 1 || n > STRING_MAX)
        return false;
    memcpy(text, p, (size_t)n);
    text[n] = '\0';
    errno = 0;
    num->val = strtoull(text, &end, base);
    num->used = end - text;
    return errno != ERANGE && end != text;
}

static bool nbytes_valid(int64_t n, bool text, int64_t min, int64_t max_bin, int64_t max_text)
{
    return n >= min && n <= (text ? max_text : max_bin);
}

static int string_base(uint8_t base)
{
    return base == BB_HEX ? 16 : base == BB_OCT ? 8 : base == BB_DEC ? 10 : 0;
}

static bool read_number(const struct run *r, const struct rule_byte_common *c, int64_t n, struct number *num)
{
    int64_t from = c->relative ? r->cur : r->base;
    num->pos = from + pos_value(r, c->offset_var, c->offset);
    /* A relative one needs at least a byte; an absolute one of 0 bytes may stand at the end. */
    if (r->len == 0 || num->pos < 0 || n > r->len - num->pos || (c->relative && num->pos >= r->len))
        return false;
    const uint8_t *p = r->in->buf.p + num->pos;
    if (c->base != BB_BIN && n == 0) { /* digits as far as they reach */
        int64_t left = r->len - num->pos;
        n = left < STRING_MAX ? left : STRING_MAX;
    }
    if (c->base != BB_BIN)
        return read_string(p, n, string_base(c->base), num);
    num->used = n;
    return read_binary(p, n, c->little, &num->val);
}

static uint64_t apply_mask(uint64_t v, const struct rule_byte_common *c)
{
    return c->bitmask ? (v & c->bitmask) >> (c->bitmask_shift & 63) : v;
}

static bool compare(enum rule_bt_op op, uint64_t a, uint64_t b)
{
    switch (op) {
    case BT_LT: return a < b;
    case BT_GT: return a > b;
    case BT_EQ: return a == b;
    case BT_LE: return a <= b;
    case BT_GE: return a >= b;
    case BT_AND: return (a & b) != 0;
    case BT_OR: return (a ^ b) != 0;
    }
    return false;
}

enum verdict inspect_byte_test(struct run *r, const struct rule_byte_test *t)
{
    struct number num;
    bool text = t->c.base != BB_BIN;
    int64_t n = pos_value(r, t->c.nbytes_var, t->c.nbytes);
    if (t->c.nbytes_var != RULE_VAR_NONE && !nbytes_valid(n, text, 1, 8, STRING_MAX))
        return V_FAIL;
    if (!read_number(r, &t->c, n, &num))
        return V_FAIL;
    uint64_t value = t->value_var == RULE_VAR_NONE ? t->value : r->vars[t->value_var];
    return compare(t->op, apply_mask(num.val, &t->c), value) != t->negated ? V_MATCH : V_FAIL;
}

/* Where the jump leads; false when beyond the buffer's end. Before the beginning means the beginning. */
static bool jump_target(const struct run *r, int64_t from, uint64_t val, int64_t *out)
{
    int64_t to;
    if (__builtin_add_overflow(from, (int64_t)val, &to) || to >= r->len)
        return false;
    *out = to < r->base ? r->base : to;
    return true;
}

enum verdict inspect_byte_jump(struct run *r, const struct rule_byte_jump *j)
{
    struct number num;
    bool text = j->c.base != BB_BIN;
    int64_t n = pos_value(r, j->c.nbytes_var, j->c.nbytes);
    if (j->c.nbytes_var != RULE_VAR_NONE && !nbytes_valid(n, text, 0, 8, STRING_MAX))
        return V_FAIL;
    if (!read_number(r, &j->c, n, &num))
        return V_FAIL;
    uint64_t val = apply_mask(num.val, &j->c) * (j->multiplier ? (uint64_t)(int64_t)j->multiplier : 1);
    if (j->align && val % 4 != 0)
        val += 4 - val % 4;
    val += j->post_offset_var == RULE_VAR_NONE ? (uint64_t)(int64_t)j->post_offset : r->vars[j->post_offset_var];
    int64_t from = num.pos + num.used;
    if (j->from_beginning)
        from = r->base;
    else if (j->from_end && !r->in->complete)
        return V_FAIL;
    else if (j->from_end)
        from = r->len;
    return jump_target(r, from, val, &r->cur) ? V_MATCH : V_FAIL;
}

enum verdict inspect_byte_extract(struct run *r, const struct rule_byte_extract *x)
{
    struct number num;
    if (!read_number(r, &x->c, pos_value(r, x->c.nbytes_var, x->c.nbytes), &num))
        return V_FAIL;
    uint64_t val = apply_mask(num.val, &x->c) * (x->multiplier ? x->multiplier : 1);
    if (x->align && val % x->align != 0)
        val += x->align - val % x->align;
    r->cur = num.pos + num.used;
    r->vars[x->var] = val;
    return V_MATCH;
}

static bool math(enum rule_math_op op, uint64_t a, uint64_t b, uint64_t *out)
{
    switch (op) {
    case BM_ADD: *out = a + b; return true;
    case BM_SUB: *out = a - b; return true;
    case BM_MUL: *out = a * b; return true;
    case BM_DIV: *out = b ? a / b : 0; return b != 0;
    case BM_LSHIFT: *out = b < 64 ? a << b : 0; return true;
    case BM_RSHIFT: *out = b < 64 ? a >> b : 0; return true;
    }
    return false;
}

enum verdict inspect_byte_math(struct run *r, const struct rule_byte_math *m)
{
    struct number num;
    uint64_t val;
    int64_t n = pos_value(r, m->c.nbytes_var, m->c.nbytes);
    if (m->c.nbytes_var != RULE_VAR_NONE && !nbytes_valid(n, m->c.base != BB_BIN, 1, 4, 10))
        return V_FAIL;
    if (!read_number(r, &m->c, n, &num))
        return V_FAIL;
    uint64_t rvalue = m->rvalue_var == RULE_VAR_NONE ? m->rvalue : r->vars[m->rvalue_var];
    if (!math(m->op, num.val, rvalue, &val))
        return V_FAIL;
    r->cur = num.pos + num.used;
    r->vars[m->result_var] = apply_mask(val, &m->c);
    return V_MATCH;
}
