/*
 * Required literal of an expression: a small parser that follows the common constructs and drops what it does not know.
 * Dropping is always safe: fewer bytes are required. What could change the meaning of the rest (\Q, verbs, comments,
 * callouts, extended syntax) gives up altogether.
 */
#include "inspect_internal.h"

#define LITERAL_MAX   256 /* of one run of bytes; a longer one is cut */
#define LITERAL_DEPTH 16  /* nested groups followed; deeper ones are skipped */

struct parse {
    const char *s; /* next character */
    uint8_t run[LITERAL_MAX], best[LITERAL_MAX];
    uint16_t nrun, nbest;
    bool give_up, nocase;
};

static void flush(struct parse *p)
{
    if (p->nrun > p->nbest) {
        memcpy(p->best, p->run, p->nrun);
        p->nbest = p->nrun;
    }
    p->nrun = 0;
}

static void literal(struct parse *p, uint8_t c)
{
    if (p->nrun == LITERAL_MAX)
        flush(p);
    p->run[p->nrun++] = c;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Past what a backslash quotes: one character, or two for \c. s stands behind the backslash. */
static const char *skip_quoted(const char *s)
{
    if (*s == 'c' && s[1])
        s++;
    return *s ? s + 1 : s;
}

/* Past a bracketed class; s stands behind '['. NULL when it does not end. */
static const char *skip_class(const char *s)
{
    if (*s == '^')
        s++;
    if (*s == ']')
        s++;
    for (; *s && *s != ']'; s++) {
        if (*s == '\\' && s[1])
            s = skip_quoted(s + 1) - 1;
        else if (*s == '[' && (s[1] == ':' || s[1] == '.' || s[1] == '=')) {
            /* A POSIX class, when its end mark comes; otherwise the bracket is a plain character. */
            const char *e = s + 2;
            while (*e && *e != ']' && *e != '\\')
                e++;
            if (*e == ']' && e[-1] == s[1] && e > s + 2)
                s = e;
        }
    }
    return *s ? s + 1 : NULL;
}

/* From behind '(' to behind its ')'; tells whether it has alternatives of its own. NULL when it does not end. */
static const char *skip_group(const char *s, bool *alternatives)
{
    unsigned depth = 1;
    *alternatives = false;
    while (*s) {
        char c = *s++;
        if (c == '\\')
            s = skip_quoted(s);
        else if (c == '[') {
            s = skip_class(s);
            if (!s)
                return NULL;
        } else if (c == '(')
            depth++;
        else if (c == ')' && --depth == 0)
            return s;
        else if (c == '|' && depth == 1)
            *alternatives = true;
    }
    return NULL;
}

/* A quantifier at s: its least count and its end. False when there is none. */
static bool quantifier(const char *s, bool *optional, const char **end)
{
    *optional = *s == '?' || *s == '*';
    if (*optional || *s == '+')
        s++;
    else if (*s == '{') {
        /* {,n} is literal to some versions and a quantifier to others: optional is safe for both. */
        const char *e = s + 1;
        while (is_digit(*e) || *e == ',' || *e == ' ')
            e++;
        if (*e != '}')
            return false;
        *optional = true;
        for (const char *d = s + 1; is_digit(*d); d++)
            *optional = *optional && *d == '0';
        s = e + 1;
    } else
        return false;
    if (*s == '?' || *s == '+')
        s++;
    *end = s;
    return true;
}

/* After an atom. keep: the atom is the last byte of the run. */
static void after_atom(struct parse *p, bool keep)
{
    bool optional;
    const char *end;
    if (!keep)
        flush(p);
    if (!quantifier(p->s, &optional, &end))
        return;
    if (keep && optional && p->nrun > 0)
        p->nrun--;
    flush(p);
    p->s = end;
}

/* \xHH, \xH, \x; \x{...} beyond a byte is dropped. */
static bool escape_hex(struct parse *p, uint8_t *c)
{
    unsigned v = 0, n = 0;
    if (*p->s == '{') {
        const char *e = p->s + 1;
        for (; hex(*e) >= 0 && n < 8; e++, n++)
            v = v << 4 | (unsigned)hex(*e);
        p->give_up = *e != '}' || n == 0;
        p->s = p->give_up ? p->s : e + 1;
        *c = (uint8_t)v;
        return v <= 0xff;
    }
    for (; n < 2 && hex(*p->s) >= 0; n++)
        v = v << 4 | (unsigned)hex(*p->s++);
    *c = (uint8_t)v;
    return true;
}

/* \p{Lu}, \pL: past the name. */
static void skip_property(struct parse *p)
{
    if (*p->s == '{') {
        while (*p->s && *p->s != '}')
            p->s++;
    }
    if (*p->s)
        p->s++;
}

/* Behind a backslash. True when it stands for one byte. */
static bool escape(struct parse *p, uint8_t *out)
{
    static const char from[] = "nrtfea", to[] = "\n\r\t\f\033\a";
    char c = *p->s;
    if (!c) {
        p->give_up = true;
        return false;
    }
    p->s++;
    const char *at = strchr(from, c);
    *out = at ? (uint8_t)to[at - from] : (uint8_t)c;
    if (at)
        return true;
    if (c == 'x')
        return escape_hex(p, out);
    if (c == 'p' || c == 'P')
        skip_property(p);
    else if (c == 'c' && *p->s)
        p->s++;
    else if (strchr("dDwWsShHvVRXCbBAzZGK", c) || (c == 'N' && *p->s != '{'))
        return false;
    else if (is_digit(c)) {
        while (is_digit(*p->s))
            p->s++;
    } else if (((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
        p->give_up = true; /* \Q, \g, \k, \o, \N{...} and what is not known */
    else
        return true;
    return false;
}

/* Past "?..." of a group whose contents simply stand in the sequence; false: the group is to be skipped. */
static bool group_prefix(struct parse *p)
{
    const char *s = p->s;
    if (*s != '?')
        return true;
    s++;
    if (*s == 'P' && s[1] == '<')
        s++;
    if (*s == ':' || *s == '>') {
        p->s = s + 1;
        return true;
    }
    if ((*s == '<' && s[1] != '=' && s[1] != '!') || *s == '\'') {
        char end = *s == '<' ? '>' : '\'';
        s = strchr(s + 1, end);
        p->s = s ? s + 1 : p->s;
        p->give_up = !s;
        return s != NULL;
    }
    return false;
}

/* (?i), (?i:...): true for letters that set options. i is taken for the whole; x changes the syntax. */
static bool inline_options(struct parse *p)
{
    const char *s = p->s;
    bool on = true;
    if (*s++ != '?')
        return false;
    for (; *s && *s != ')' && *s != ':'; s++) {
        if (!strchr("imsxnJU-^", *s))
            return false;
        on = *s == '-' ? false : on;
        p->nocase = p->nocase || (*s == 'i' && on);
        p->give_up = p->give_up || *s == 'x';
    }
    return *s && s > p->s + 1;
}

static void sequence(struct parse *p, unsigned depth);

/* Behind '('. */
static void group(struct parse *p, unsigned depth)
{
    bool alternatives, optional = false;
    const char *end = skip_group(p->s, &alternatives), *behind;
    flush(p);
    if (!end) {
        p->give_up = true;
        return;
    }
    bool options = inline_options(p);
    (void)quantifier(end, &optional, &behind);
    if (!options && !alternatives && !optional && depth < LITERAL_DEPTH && group_prefix(p))
        sequence(p, depth + 1);
    flush(p);
    p->s = end;
    after_atom(p, false);
}

static void atom(struct parse *p, unsigned depth)
{
    uint8_t c = (uint8_t)*p->s++;
    bool keep = false;
    switch (c) {
    case '(': group(p, depth); return;
    case '[': {
        const char *e = skip_class(p->s);
        p->give_up = p->give_up || !e;
        p->s = e ? e : p->s;
        break;
    }
    case '\\': keep = escape(p, &c); break;
    case '.':
    case '^':
    case '$':
    case '{': break;
    default: keep = true;
    }
    if (keep)
        literal(p, c);
    after_atom(p, keep);
}

/* Up to the end or the ')' that closes the group. */
static void sequence(struct parse *p, unsigned depth)
{
    while (!p->give_up && *p->s && *p->s != ')')
        atom(p, depth);
    flush(p);
}

/* Whether the expression itself has alternatives; also true when it cannot be followed. */
static bool top_alternatives(const char *expr)
{
    bool alternatives;
    const char *s = expr;
    /* skip_group returns only at a ')' too many; the end of the text is NULL, and then `alternatives` is what was seen.
     */
    return skip_group(s, &alternatives) != NULL || alternatives;
}

bool inspect_pcre_literal(const char *expr, uint32_t options, uint8_t *out, uint16_t *len, bool *nocase)
{
    struct parse p = {.s = expr, .nocase = (options & PCRE2_CASELESS) != 0};
    const uint32_t other_syntax = PCRE2_EXTENDED | PCRE2_EXTENDED_MORE | PCRE2_LITERAL | PCRE2_ALT_BSUX;
    if ((options & other_syntax) || strstr(expr, "\\Q") || strstr(expr, "(*") || strstr(expr, "(?#") ||
        strstr(expr, "(?C") || top_alternatives(expr))
        return false;
    sequence(&p, 0);
    if (p.give_up || *p.s || p.nbest == 0)
        return false;
    *len = p.nbest < *len ? p.nbest : *len;
    memcpy(out, p.best, *len);
    *nocase = p.nocase;
    return true;
}
