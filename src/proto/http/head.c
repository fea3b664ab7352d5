/* Start line and header block: where they end, and what stands in them. */
#include "http/internal.h"

struct sk_span http_trim(struct sk_span s)
{
    while (s.len > 0 && http_is_space(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && http_is_space(s.p[s.len - 1]))
        s.len--;
    return s;
}

bool http_starts(struct sk_span s, const char *word)
{
    uint32_t n = (uint32_t)strlen(word);
    if (s.len < n)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (http_lower(s.p[i]) != (uint8_t)word[i])
            return false;
    }
    return true;
}

struct sk_span http_nozero(struct sk_span s, uint8_t *buf, uint32_t cap)
{
    uint32_t n = 0;
    if (s.len == 0 || memchr(s.p, 0, s.len) == NULL)
        return s;
    for (uint32_t i = 0; i < s.len && n < cap; i++) {
        if (s.p[i] != 0)
            buf[n++] = s.p[i];
    }
    return sk_span_of(buf, n);
}

bool http_contains(struct sk_span s, const char *word)
{
    for (; s.len > 0; s.p++, s.len--) {
        if (http_starts(s, word))
            return true;
    }
    return false;
}

/* ---- ends ---- */

/* First byte at or behind `from` that ends a line; len when there is none. A response's lines may end with CR alone. */
static uint32_t find_eol(int dir, const uint8_t *p, uint32_t len, uint32_t from)
{
    const uint8_t *lf = (const uint8_t *)memchr(p + from, '\n', len - from);
    uint32_t end = lf ? (uint32_t)(lf - p) : len;
    if (dir == HTTP_TS)
        return end;
    const uint8_t *cr = (const uint8_t *)memchr(p + from, '\r', end - from);
    return cr ? (uint32_t)(cr - p) : end;
}

/*
 * CR LF CR with more CR, space or tab behind it is one end of line in a response, when no empty line follows: browsers
 * read on, and find the headers there. Returns what is behind it; `at` when it is not that, len when it is too early to
 * tell. `at` is behind the first CR LF.
 */
static uint32_t skip_deformed(const uint8_t *p, uint32_t len, uint32_t at)
{
    uint32_t i = at;
    if (i == len || p[i] != '\r')
        return at;
    for (i++; i < len && (p[i] == '\r' || p[i] == ' ' || p[i] == '\t');)
        i++;
    if (i == at + 1 && i < len)
        return at;
    if (i < len && p[i] == '\n')
        i++;
    if (len - i < 2)
        return len;
    return p[i] == '\n' || (p[i] == '\r' && p[i + 1] == '\n') ? at : i;
}

static uint32_t skip_plain_eol(int dir, const uint8_t *p, uint32_t len, uint32_t i)
{
    uint8_t other = p[i] == '\r' ? '\n' : '\r';
    return dir == HTTP_TC && len - i > 1 && p[i + 1] == other ? i + 2 : i + 1;
}

/* Behind the end of line at i. */
static uint32_t skip_eol(int dir, const uint8_t *p, uint32_t len, uint32_t i)
{
    uint32_t next = skip_plain_eol(dir, p, len, i);
    return next == i + 2 && p[i] == '\r' ? skip_deformed(p, len, next) : next;
}

/* At the start of a line: length of the empty line there; 0: none; -1: more bytes are needed to tell. */
static int empty_line(int dir, const uint8_t *p, uint32_t left, bool first)
{
    if (left == 0)
        return -1;
    if (p[0] == '\n')
        return 1;
    if (p[0] != '\r')
        return 0;
    if (left < 2)
        return -1;
    if (p[1] == '\n')
        return 2;
    /* CR alone ends a response's head, unless it belongs to the end of the status line (LF CR). */
    return dir == HTTP_TS || first ? 0 : 1;
}

static bool is_fold(uint8_t c)
{
    return c == ' ' || c == '\t' || c == 0;
}

/* A continuation line of one white space byte that ends with LF or CR alone is as good as an empty line. As above. */
static int blank_fold(int dir, const uint8_t *p, uint32_t left)
{
    if (!is_fold(p[0]))
        return 0;
    if (left < 3)
        return left < 2 || p[1] == '\n' || p[1] == '\r' ? -1 : 0;
    if (p[1] == '\n')
        return p[2] == '\n' ? 3 : dir == HTTP_TC && p[2] == '\r' ? 0 : 2;
    return dir == HTTP_TC && p[1] == '\r' && p[2] != '\n' ? 2 : 0;
}

uint32_t head_find_end(int dir, const uint8_t *p, uint32_t len, uint32_t *resume)
{
    uint32_t off = *resume;
    if (off == 0) {
        int e = empty_line(dir, p, len, true);
        if (e != 0)
            return e > 0 ? (uint32_t)e : 0;
    }
    while (off < len) {
        uint32_t i = find_eol(dir, p, len, off);
        *resume = i;
        if (i == len || (dir == HTTP_TC && len - i < 2))
            return 0;
        uint32_t next = skip_eol(dir, p, len, i);
        int e = empty_line(dir, p + next, len - next, false);
        if (e == 0)
            e = blank_fold(dir, p + next, len - next);
        if (e < 0)
            return 0;
        if (e > 0)
            return next + (uint32_t)e;
        off = next;
    }
    *resume = len;
    return 0;
}

bool head_line(int dir, const uint8_t *p, uint32_t len, bool eof, uint32_t *line_len, uint32_t *next)
{
    uint32_t i = find_eol(dir, p, len, 0);
    if (i == len) {
        *line_len = *next = len;
        return eof;
    }
    if (dir == HTTP_TC && p[i] == '\r' && len - i < 2 && !eof)
        return false;
    *next = dir == HTTP_TC && p[i] == '\n' ? i + 1 : skip_plain_eol(dir, p, len, i);
    while (i > 0 && p[i - 1] == '\r')
        i--;
    *line_len = i;
    return true;
}

/* ---- headers ---- */

static bool ieq(struct sk_span s, const char *lower)
{
    for (uint32_t i = 0; i < s.len; i++) {
        if (http_lower(s.p[i]) != (uint8_t)lower[i])
            return false;
    }
    return true;
}

static enum http_known known_short(struct sk_span n)
{
    switch (n.len) {
    case 4: return ieq(n, "host") ? HK_HOST : HK_OTHER;
    case 6:
        switch (http_lower(n.p[0])) {
        case 'c': return ieq(n, "cookie") ? HK_COOKIE : HK_OTHER;
        case 'a': return ieq(n, "accept") ? HK_ACCEPT : HK_OTHER;
        case 's': return ieq(n, "server") ? HK_SERVER : HK_OTHER;
        case 'e': return ieq(n, "expect") ? HK_EXPECT : HK_OTHER;
        default: return HK_OTHER;
        }
    case 7:
        if (http_lower(n.p[0]) == 'r')
            return ieq(n, "referer") ? HK_REFERER : HK_OTHER;
        return ieq(n, "upgrade") ? HK_UPGRADE : HK_OTHER;
    case 8: return ieq(n, "location") ? HK_LOCATION : HK_OTHER;
    default: return HK_OTHER;
    }
}

static enum http_known known_of(struct sk_span n)
{
    switch (n.len) {
    case 10:
        switch (http_lower(n.p[0])) {
        case 'u': return ieq(n, "user-agent") ? HK_USER_AGENT : HK_OTHER;
        case 'c': return ieq(n, "connection") ? HK_CONNECTION : HK_OTHER;
        case 's': return ieq(n, "set-cookie") ? HK_SET_COOKIE : HK_OTHER;
        default: return HK_OTHER;
        }
    case 12: return ieq(n, "content-type") ? HK_CONTENT_TYPE : HK_OTHER;
    case 14: return ieq(n, "content-length") ? HK_CONTENT_LENGTH : HK_OTHER;
    case 15:
        if (http_lower(n.p[7]) == 'e')
            return ieq(n, "accept-encoding") ? HK_ACCEPT_ENC : HK_OTHER;
        return ieq(n, "accept-language") ? HK_ACCEPT_LANG : HK_OTHER;
    case 16: return ieq(n, "content-encoding") ? HK_CONTENT_ENCODING : HK_OTHER;
    case 17: return ieq(n, "transfer-encoding") ? HK_TRANSFER_ENCODING : HK_OTHER;
    case 19: return ieq(n, "content-disposition") ? HK_CONTENT_DISPOSITION : HK_OTHER;
    default: return known_short(n);
    }
}

/* Names with NUL bytes in them still frame the body ("Transfer\0-Encoding"): some servers read over NUL. */
static enum http_known known_nozero(struct sk_span n)
{
    uint8_t buf[20];
    if (n.len == 0 || memchr(n.p, 0, n.len) == NULL)
        return known_of(n);
    struct sk_span clean = http_nozero(n, buf, sizeof buf);
    if (clean.len == sizeof buf)
        return HK_OTHER; /* longer than any of these */
    switch (known_of(clean)) {
    case HK_CONTENT_LENGTH: return HK_CONTENT_LENGTH;
    case HK_TRANSFER_ENCODING: return HK_TRANSFER_ENCODING;
    case HK_CONTENT_ENCODING: return HK_CONTENT_ENCODING;
    case HK_HOST: return HK_HOST;
    default: return HK_OTHER;
    }
}

static bool same_name(struct sk_span a, struct sk_span b)
{
    if (a.len != b.len)
        return false;
    for (uint32_t i = 0; i < a.len; i++) {
        if (http_lower(a.p[i]) != http_lower(b.p[i]))
            return false;
    }
    return true;
}

static struct http_header *find_same(struct http_msg *m, struct sk_span name, enum http_known k)
{
    if (k != HK_OTHER) {
        struct http_header *h = m->known[k] ? &m->headers[m->known[k] - 1] : NULL;
        return h != NULL && same_name(h->name, name) ? h : NULL;
    }
    for (unsigned i = 0; i < m->nheaders; i++) {
        struct http_header *h = &m->headers[i];
        if (h->known == HK_OTHER && same_name(h->name, name))
            return h;
    }
    return NULL;
}

/* A grown array in the transaction's memory; the old one is left behind (sizes double). */
static void *grow(struct http_tx *tx, void *old, uint16_t *cap, uint32_t size)
{
    uint32_t want = *cap ? *cap * 2u : 16;
    uint8_t *p = (uint8_t *)tx_alloc(tx, want * size);
    if (p == NULL)
        return NULL;
    if (*cap > 0)
        memcpy(p, old, *cap * size);
    *cap = (uint16_t)want;
    return p;
}

static struct http_header *new_header(struct http_tx *tx, int dir, struct sk_span name, struct sk_span value,
                                      enum http_known k)
{
    struct http_msg *m = &tx->msg[dir];
    if (m->nheaders >= HTTP_MAX_HEADERS) {
        tx_event(tx, HTTP_EV_TOO_MANY_HEADERS);
        return NULL;
    }
    if (m->nheaders == m->header_cap) {
        void *p = grow(tx, m->headers, &m->header_cap, sizeof *m->headers);
        if (p == NULL)
            return NULL;
        m->headers = (struct http_header *)p;
    }
    struct http_header *h = &m->headers[m->nheaders++];
    *h = (struct http_header){.name = name, .value = value, .lines = 1, .known = (uint8_t)k};
    if (k != HK_OTHER && m->known[k] == 0)
        m->known[k] = m->nheaders;
    return h;
}

static void repeated(struct http_tx *tx, int dir, struct http_header *h, struct sk_span value)
{
    tx_event(tx, dir == HTTP_TS ? HTTP_EV_REQUEST_HEADER_REPETITION : HTTP_EV_RESPONSE_HEADER_REPETITION);
    if (h->known != HK_CONTENT_LENGTH)
        return;
    uint64_t a, b;
    if (!head_content_length(h->value, &a) || !head_content_length(value, &b) || a != b)
        tx_event(tx,
                 dir == HTTP_TS ? HTTP_EV_DUPLICATE_CONTENT_LENGTH_REQUEST : HTTP_EV_DUPLICATE_CONTENT_LENGTH_RESPONSE);
}

static bool add_header(struct http_tx *tx, int dir, struct http_line line)
{
    struct sk_span name = line.name, value = line.value;
    struct http_msg *m = &tx->msg[dir];
    enum http_known k = known_nozero(name);
    struct http_header *h = find_same(m, name, k);
    if (h == NULL) {
        h = new_header(tx, dir, name, value, k);
        if (h == NULL)
            return false;
    } else if (h->lines > 1 && m->repeats >= HTTP_MAX_REPEATS) {
        line.extra = true;
        if (m->nlines >= HTTP_MAX_HEADERS) {
            h->cut = true;
            return true;
        }
    } else {
        if (h->lines++ > 1)
            m->repeats++;
        repeated(tx, dir, h, value);
    }
    if (m->nlines == m->line_cap) {
        void *p = grow(tx, m->lines, &m->line_cap, sizeof *m->lines);
        if (p == NULL)
            return false;
        m->lines = (struct http_line *)p;
    }
    line.header = (uint16_t)(h - m->headers);
    m->lines[m->nlines++] = line;
    return true;
}

static bool is_token(struct sk_span s)
{
    for (uint32_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c <= 32 || c > 126 || memchr("()<>@,;:\\\"/[]?={}", c, 17) != NULL)
            return false;
    }
    return true;
}

/* In a response " Name: value" behind a header line is a header of its own, as browsers take it. */
static bool is_continuation(int dir, struct sk_span l)
{
    if (l.len == 0 || !is_fold(l.p[0]))
        return false;
    if (dir == HTTP_TS)
        return true;
    const uint8_t *colon = (const uint8_t *)memchr(l.p, ':', l.len);
    if (colon == NULL)
        return true;
    struct sk_span name = sk_span_trim(sk_span_of(l.p, (uint32_t)(colon - l.p)));
    return name.len == 0 || !is_token(name);
}

static bool only_cr(struct sk_span l)
{
    while (l.len > 0 && l.p[l.len - 1] == '\r')
        l.len--;
    return l.len == 0;
}

/* Joins a value with its continuation lines, whose end is *off. Only their first white space byte stays. */
static struct sk_span unfold(struct http_tx *tx, int dir, struct sk_span block, struct sk_span value, uint32_t *off,
                             uint32_t group_end)
{
    uint8_t *out = (uint8_t *)tx_alloc(tx, value.len + (group_end - *off));
    if (out == NULL)
        return value;
    uint32_t n = value.len;
    if (n > 0)
        memcpy(out, value.p, n);
    while (*off < group_end) {
        uint32_t i = find_eol(dir, block.p, group_end, *off);
        struct sk_span l = http_sub(block, *off, i);
        *off = i < group_end ? skip_eol(dir, block.p, group_end, i) : group_end;
        if (l.len > 0 && l.p[l.len - 1] == '\r')
            l.len--;
        if (l.len == 0)
            continue;
        if (n > 0)
            out[n++] = l.p[0] ? l.p[0] : ' ';
        memcpy(out + n, l.p + 1, l.len - 1);
        n += l.len - 1;
    }
    return sk_span_of(out, n);
}

/* End of the continuation lines that begin at off; off itself when there are none. */
static uint32_t fold_end(int dir, struct sk_span block, uint32_t off)
{
    while (off < block.len) {
        uint32_t i = find_eol(dir, block.p, block.len, off);
        if (!is_continuation(dir, http_sub(block, off, i)))
            break;
        off = i < block.len ? skip_eol(dir, block.p, block.len, i) : block.len;
    }
    return off;
}

/* A name may go on behind an end of line and a space ("Name CR LF SP : value"); *off is then behind the line with the
 * colon. Without a colon the line is what it was. */
static struct sk_span folded_name(int dir, struct sk_span block, struct sk_span l, uint32_t *off)
{
    uint32_t from = (uint32_t)(l.p - block.p), end = *off;
    if (memchr(l.p, ':', l.len) != NULL)
        return l;
    while (end < block.len && block.p[end] == ' ') {
        uint32_t i = find_eol(dir, block.p, block.len, end);
        bool colon = memchr(block.p + end, ':', i - end) != NULL;
        end = i < block.len ? skip_eol(dir, block.p, block.len, i) : block.len;
        if (colon) {
            *off = end;
            return http_sub(block, from, i);
        }
    }
    return l;
}

static bool has_byte(struct sk_span s, uint8_t c)
{
    return s.len > 0 && memchr(s.p, c, s.len) != NULL;
}

bool head_line_odd(const struct http_line *line)
{
    struct sk_span l = line->raw;
    const uint8_t *colon = l.len > 0 ? memchr(l.p, ':', l.len) : NULL;
    if (l.len > 0 && l.p[l.len - 1] == '\r') /* belongs to its end */
        l.len--;
    return line->folded || (colon != NULL && colon - l.p != (ptrdiff_t)line->name.len) || has_byte(l, 0) ||
           has_byte(l, '\r') || has_byte(l, '\n');
}

static bool parse_line(struct http_tx *tx, int dir, struct sk_span block, struct sk_span l, uint32_t *off)
{
    l = folded_name(dir, block, l, off);
    bool ts = dir == HTTP_TS;
    const uint8_t *colon = (const uint8_t *)memchr(l.p, ':', l.len);
    struct sk_span name = {.p = l.p, .len = 0}, value = l;
    if (colon != NULL) {
        uint32_t c = (uint32_t)(colon - l.p);
        name = http_trim(http_sub(l, 0, c));
        value = http_sub(l, c + 1, l.len);
        if (!is_token(name))
            tx_event(tx, ts ? HTTP_EV_REQUEST_HEADER_INVALID : HTTP_EV_RESPONSE_HEADER_INVALID);
    } else {
        tx_event(tx, ts ? HTTP_EV_REQUEST_FIELD_MISSING_COLON : HTTP_EV_RESPONSE_FIELD_MISSING_COLON);
    }
    uint32_t end = fold_end(dir, block, *off);
    bool folded = end > *off;
    if (folded) {
        while (value.len > 0 && is_fold(value.p[0]) && value.p[0] != 0) {
            value.p++;
            value.len--;
        }
        if (value.len > 0 && value.p[value.len - 1] == '\r')
            value.len--;
        value = unfold(tx, dir, block, value, off, end);
    }
    return add_header(tx, dir, (struct http_line){.name = name, .value = http_trim(value), .raw = l, .folded = folded});
}

/* Values of headers that came several times: one value, joined. Content-Length keeps its first. */
static void join_repeated(struct http_tx *tx, struct http_msg *m, uint16_t index)
{
    struct http_header *h = &m->headers[index];
    uint32_t total = 0, n = 0;
    bool first = true;
    for (unsigned i = 0; i < m->nlines; i++) {
        if (m->lines[i].header == index && !m->lines[i].extra)
            total += m->lines[i].value.len + 2;
    }
    uint8_t *out = (uint8_t *)tx_alloc(tx, total);
    if (out == NULL)
        return;
    for (unsigned i = 0; i < m->nlines; i++) {
        const struct http_line *l = &m->lines[i];
        if (l->header != index || l->extra)
            continue;
        if (!first) {
            out[n++] = ',';
            out[n++] = ' ';
        }
        first = false;
        if (l->value.len > 0)
            memcpy(out + n, l->value.p, l->value.len);
        n += l->value.len;
    }
    h->value = sk_span_of(out, n);
}

bool head_parse(struct http_tx *tx, int dir, struct sk_span block)
{
    struct http_msg *m = &tx->msg[dir];
    uint32_t off = 0;
    while (off < block.len) {
        uint32_t i = find_eol(dir, block.p, block.len, off);
        struct sk_span l = http_sub(block, off, i);
        off = i < block.len ? skip_eol(dir, block.p, block.len, i) : block.len;
        if (only_cr(l))
            continue;
        if (!parse_line(tx, dir, block, l, &off))
            return false;
    }
    for (uint16_t i = 0; i < m->nheaders; i++) {
        if (m->headers[i].lines > 1 && m->headers[i].known != HK_CONTENT_LENGTH)
            join_repeated(tx, m, i);
    }
    m->cache_header = m->cache_names = m->cache_start = (struct sk_span){0};
    return true;
}

const struct http_header *head_known(const struct http_msg *m, enum http_known k)
{
    return m->known[k] ? &m->headers[m->known[k] - 1] : NULL;
}

struct sk_span head_value(const struct http_msg *m, enum http_known k)
{
    return m->known[k] ? m->headers[m->known[k] - 1].value : (struct sk_span){0};
}

/* ---- values ---- */

bool head_content_length(struct sk_span v, uint64_t *out)
{
    uint32_t i = 0;
    uint64_t n = 0;
    while (i < v.len && (v.p[i] < '0' || v.p[i] > '9'))
        i++;
    if (i == v.len)
        return false;
    for (; i < v.len && v.p[i] >= '0' && v.p[i] <= '9'; i++) {
        uint8_t d = (uint8_t)(v.p[i] - '0');
        if (n > (UINT64_MAX - d) / 10)
            return false;
        n = n * 10 + d;
    }
    *out = n;
    return true;
}

/* 9, 10 or 11 for HTTP/0.9, /1.0, /1.1, with white space and leading zeros where servers allow them; 0 invalid. */
uint8_t head_proto(struct sk_span s)
{
    s = http_trim(s);
    if (!http_starts(s, "http"))
        return 0;
    s = http_trim(http_sub(s, 4, s.len));
    if (s.len == 0 || s.p[0] != '/')
        return 0;
    uint32_t i = 1;
    while (i < s.len && (http_is_space(s.p[i]) || s.p[i] == '0'))
        i++;
    s = http_sub(s, i, s.len);
    if (s.len == 2 && memcmp(s.p, ".9", 2) == 0)
        return 9;
    if (s.len == 3 && memcmp(s.p, "1.0", 3) == 0)
        return 10;
    return s.len == 3 && memcmp(s.p, "1.1", 3) == 0 ? 11 : 0;
}
