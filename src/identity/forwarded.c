/*
 * Forwarded, RFC 7239: elements between commas, each some pairs between semicolons; a value may be a quoted string, in
 * which commas and semicolons are text. Read from the left, because only so is it known what a quote begins and what
 * it ends, and then walked from the right.
 *
 *   for=<what the client wrote>, for=192.0.2.1;proto=http, for="[2001:db8::7]:4711"
 *                               ^at[0]                    ^at[1]
 */
#include "identity_internal.h"

/* Where elements begin behind commas; of more than fit only the last ones are known. */
struct elements {
    uint32_t at[IDENTITY_ENTRIES];
    uint32_t n;
};

/* The next byte `stop` at i or later that is not in a quoted string, or the end. *open: a string did not end. */
static uint32_t next_outside(struct sk_span s, uint32_t i, uint8_t stop, bool *open)
{
    *open = false;
    for (; i < s.len; i++) {
        if (*open && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            *open = !*open;
        else if (!*open && s.p[i] == stop)
            return i;
    }
    return s.len;
}

bool id_forwarded_open(struct sk_span line)
{
    bool open = false;
    for (uint32_t i = 0; i < line.len && !open; i++)
        i = next_outside(line, i, ',', &open);
    return open;
}

static void find_elements(struct sk_span line, struct elements *e)
{
    bool open;
    e->n = 0;
    for (uint32_t i = 0; (i = next_outside(line, i, ',', &open)) < line.len;)
        e->at[e->n++ % IDENTITY_ENTRIES] = ++i;
}

static bool is_token(struct sk_span s)
{
    static const char other[] = "!#$%&'*+-.^_`|~";
    for (uint32_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && memchr(other, c, sizeof other - 1) == NULL)
            return false;
    }
    return s.len > 0;
}

/* `for` of an element: as it stands there, quotes included. */
static enum identity_why find_for(struct sk_span element, struct sk_span *value)
{
    bool found = false, open;
    for (uint32_t i = 0, end; i < element.len; i = end + 1) {
        end = next_outside(element, i, ';', &open);
        struct sk_span pair = sk_span_trim(sk_span_of(element.p + i, end - i));
        if (pair.len == 0)
            continue;
        const uint8_t *eq = (const uint8_t *)memchr(pair.p, '=', pair.len);
        uint32_t n = eq ? (uint32_t)(eq - pair.p) : 0;
        struct sk_span name = sk_span_of(pair.p, n);
        if (eq == NULL || !is_token(name))
            return IDENTITY_WHY_MALFORMED;
        if (!sk_span_ieq(name, "for"))
            continue;
        if (found)
            return IDENTITY_WHY_AMBIGUOUS;
        found = true;
        *value = sk_span_of(eq + 1, pair.len - n - 1);
    }
    return found ? IDENTITY_WHY_NONE : IDENTITY_WHY_NO_HEADER;
}

/* The text of a quoted string; cut when it is longer than any address. False: something stands behind its end. */
static bool unquote(struct sk_span s, uint8_t buf[ID_ENTRY_TEXT + 1], uint32_t *len)
{
    *len = 0;
    for (uint32_t i = 1; i < s.len; i++) {
        if (s.p[i] == '"')
            return i == s.len - 1;
        if (s.p[i] == '\\')
            i++;
        if (i < s.len && *len <= ID_ENTRY_TEXT)
            buf[(*len)++] = s.p[i];
    }
    return false;
}

static enum identity_why parse_element(struct sk_span element, struct id_entry *e)
{
    struct sk_span value;
    uint8_t buf[ID_ENTRY_TEXT + 1];
    enum identity_why why = find_for(element, &value);
    if (why != IDENTITY_WHY_NONE)
        return why;
    if (value.len > 0 && value.p[0] == '"') {
        if (!unquote(value, buf, &value.len))
            return IDENTITY_WHY_MALFORMED;
        value.p = buf;
    }
    return id_entry_parse(value, true, e);
}

/* The element at begin..end. */
static bool walk_element(struct id_walk *w, struct sk_span line, uint32_t begin, uint32_t end)
{
    struct id_entry e;
    if (!id_walk_look(w))
        return false;
    struct sk_span s = sk_span_trim(sk_span_of(line.p + begin, end - begin));
    return s.len == 0 || id_walk_take(w, parse_element(s, &e), &e);
}

bool id_forwarded_line(struct id_walk *w, struct sk_span line)
{
    struct elements el;
    uint32_t end = line.len;
    if (line.len == 0)
        return id_walk_look(w);
    find_elements(line, &el);
    /* What is not known any more is not used: the walk ends after IDENTITY_ENTRIES elements. */
    for (uint32_t i = el.n; i > 0; i--) {
        uint32_t begin = el.at[(i - 1) % IDENTITY_ENTRIES];
        if (!walk_element(w, line, begin, end))
            return false;
        end = begin - 1;
    }
    return walk_element(w, line, 0, end);
}
