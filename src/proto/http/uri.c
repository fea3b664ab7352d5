/*
 * The request target: taken apart as libhtp does, and http.uri, its normalised form without scheme and authority:
 * the path percent-decoded (%uXXXX too), backslashes turned, slashes squeezed, UTF-8 mapped to single bytes, dot
 * segments removed; the query percent-decoded. '+' stays.
 */
#include "http/internal.h"

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = http_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int hex2(const uint8_t *p)
{
    int a = hex(p[0]), b = hex(p[1]);
    return a < 0 || b < 0 ? -1 : a << 4 | b;
}

/* ---- best fit ---- */

/*
 * One byte for a code point, as Windows' best-fit table for code page 1252 has it (its letters, punctuation and
 * full-width forms; characters that the code page has itself are not in it, nor for libhtp). '?' for the rest.
 */
enum fit_kind { FIT_SAME, FIT_RUN /* the following bytes follow */, FIT_CASE /* capital and small in turn */ };

struct fit {
    uint16_t from, to;
    char byte; /* of `from` */
    uint8_t kind;
};

static const struct fit fits[] = {
    {0x0100, 0x0105, 'A', FIT_CASE},  {0x0106, 0x010d, 'C', FIT_CASE},  {0x010e, 0x010f, 'D', FIT_CASE},
    {0x0111, 0x0111, 'd', FIT_SAME},  {0x0112, 0x011b, 'E', FIT_CASE},  {0x011c, 0x0123, 'G', FIT_CASE},
    {0x0124, 0x0127, 'H', FIT_CASE},  {0x0128, 0x0131, 'I', FIT_CASE},  {0x0134, 0x0135, 'J', FIT_CASE},
    {0x0136, 0x0137, 'K', FIT_CASE},  {0x0139, 0x013e, 'L', FIT_CASE},  {0x0141, 0x0142, 'L', FIT_CASE},
    {0x0143, 0x0148, 'N', FIT_CASE},  {0x014c, 0x0151, 'O', FIT_CASE},  {0x0154, 0x0159, 'R', FIT_CASE},
    {0x015a, 0x015f, 'S', FIT_CASE},  {0x0162, 0x0167, 'T', FIT_CASE},  {0x0168, 0x0173, 'U', FIT_CASE},
    {0x0174, 0x0175, 'W', FIT_CASE},  {0x0176, 0x0177, 'Y', FIT_CASE},  {0x0179, 0x0179, 'Z', FIT_SAME},
    {0x017b, 0x017c, 'Z', FIT_CASE},  {0x0180, 0x0180, 'b', FIT_SAME},  {0x01a0, 0x01a1, 'O', FIT_CASE},
    {0x01af, 0x01b0, 'U', FIT_CASE},  {0x01c0, 0x01c0, '|', FIT_SAME},  {0x01c3, 0x01c3, '!', FIT_SAME},
    {0x01cd, 0x01ce, 'A', FIT_CASE},  {0x01cf, 0x01d0, 'I', FIT_CASE},  {0x01d1, 0x01d2, 'O', FIT_CASE},
    {0x01d3, 0x01dc, 'U', FIT_CASE},  {0x01de, 0x01df, 'A', FIT_CASE},  {0x01e4, 0x01e7, 'G', FIT_CASE},
    {0x01e8, 0x01e9, 'K', FIT_CASE},  {0x01ea, 0x01ed, 'O', FIT_CASE},  {0x0261, 0x0261, 'g', FIT_SAME},
    {0x02b9, 0x02b9, '\'', FIT_SAME}, {0x02ba, 0x02ba, '"', FIT_SAME},  {0x02bc, 0x02bc, '\'', FIT_SAME},
    {0x02c4, 0x02c4, '^', FIT_SAME},  {0x02c8, 0x02c8, '\'', FIT_SAME}, {0x02cb, 0x02cb, '`', FIT_SAME},
    {0x02cd, 0x02cd, '_', FIT_SAME},  {0x0300, 0x0300, '`', FIT_SAME},  {0x0302, 0x0302, '^', FIT_SAME},
    {0x0303, 0x0303, '~', FIT_SAME},  {0x030e, 0x030e, '"', FIT_SAME},  {0x0331, 0x0332, '_', FIT_SAME},
    {0x037e, 0x037e, ';', FIT_SAME},  {0x03b1, 0x03b1, 'a', FIT_SAME},  {0x0589, 0x0589, ':', FIT_SAME},
    {0x066a, 0x066a, '%', FIT_SAME},  {0x2000, 0x2006, ' ', FIT_SAME},  {0x2010, 0x2011, '-', FIT_SAME},
    {0x2017, 0x2017, '=', FIT_SAME},  {0x2032, 0x2032, '\'', FIT_SAME}, {0x2035, 0x2035, '`', FIT_SAME},
    {0x2044, 0x2044, '/', FIT_SAME},  {0x2074, 0x2078, '4', FIT_RUN},   {0x207f, 0x207f, 'n', FIT_SAME},
    {0x2080, 0x2089, '0', FIT_RUN},   {0x2212, 0x2212, '-', FIT_SAME},  {0x2215, 0x2215, '/', FIT_SAME},
    {0x2216, 0x2216, '\\', FIT_SAME}, {0x2217, 0x2217, '*', FIT_SAME},  {0x221a, 0x221a, 'v', FIT_SAME},
    {0x221e, 0x221e, '8', FIT_SAME},  {0x2223, 0x2223, '|', FIT_SAME},  {0x2229, 0x2229, 'n', FIT_SAME},
    {0x2236, 0x2236, ':', FIT_SAME},  {0x223c, 0x223c, '~', FIT_SAME},  {0x2261, 0x2261, '=', FIT_SAME},
    {0x2264, 0x2265, '=', FIT_SAME},  {0x2303, 0x2303, '^', FIT_SAME},  {0x2320, 0x2320, '(', FIT_SAME},
    {0x2321, 0x2321, ')', FIT_SAME},  {0x2329, 0x2329, '<', FIT_SAME},  {0x232a, 0x232a, '>', FIT_SAME},
    {0x2758, 0x2758, '|', FIT_SAME},  {0x3000, 0x3000, ' ', FIT_SAME},  {0x3008, 0x3008, '<', FIT_SAME},
    {0x3009, 0x3009, '>', FIT_SAME},  {0x301a, 0x301a, '[', FIT_SAME},  {0x301b, 0x301b, ']', FIT_SAME},
    {0xff01, 0xff1e, '!', FIT_RUN},   {0xff20, 0xff5e, '@', FIT_RUN},
};

uint8_t uri_bestfit(uint32_t cp)
{
    if (cp < 0x100)
        return (uint8_t)cp;
    for (unsigned i = 0; i < sizeof fits / sizeof *fits; i++) {
        const struct fit *f = &fits[i];
        if (cp < f->from || cp > f->to)
            continue;
        if (f->kind == FIT_RUN)
            return (uint8_t)(f->byte + (cp - f->from));
        bool small = f->kind == FIT_CASE && ((cp - f->from) & 1);
        return (uint8_t)(small ? f->byte | 0x20 : f->byte);
    }
    return '?';
}

/* ---- percent-decoding ---- */

/* At a '%': the byte it stands for, and how many bytes of input that takes. An invalid one stays as it is. */
static uint32_t percent(const uint8_t *p, uint32_t left, uint8_t *out)
{
    *out = '%';
    if (left >= 2 && (p[1] == 'u' || p[1] == 'U')) {
        int hi, lo;
        if (left < 6 || (hi = hex2(p + 2)) < 0 || (lo = hex2(p + 4)) < 0)
            return 1;
        *out = uri_bestfit((uint32_t)hi << 8 | (uint32_t)lo);
        return 6;
    }
    int v = left >= 3 ? hex2(p + 1) : -1;
    if (v < 0)
        return 1;
    *out = (uint8_t)v;
    return 3;
}

uint32_t uri_decode(struct sk_span s, uint8_t *out, bool plus)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s.len;) {
        if (s.p[i] == '%') {
            i += percent(s.p + i, s.len - i, &out[n++]);
        } else {
            out[n++] = plus && s.p[i] == '+' ? ' ' : s.p[i];
            i++;
        }
    }
    return n;
}

static uint32_t path_decode(struct sk_span s, uint8_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s.len;) {
        uint8_t c = s.p[i];
        if (c == '%')
            i += percent(s.p + i, s.len - i, &c);
        else
            i++;
        if (c == '\\')
            c = '/';
        if (c == '/' && n > 0 && out[n - 1] == '/')
            continue;
        out[n++] = c;
    }
    return n;
}

/* ---- UTF-8, overlong forms too, to single bytes ---- */

/* Bytes that a sequence with this first byte has; 0: none can begin so. */
static unsigned utf8_len(uint8_t c)
{
    if (c < 0x80)
        return 1;
    if (c < 0xc0 || c > 0xf4)
        return 0;
    return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static bool utf8_next_ok(uint8_t first, unsigned seq, uint8_t c)
{
    if ((c & 0xc0) != 0x80)
        return false;
    if (seq == 1 && first == 0xed)
        return c < 0xa0; /* surrogates */
    return !(seq == 1 && first == 0xf4) || c < 0x90;
}

static uint32_t utf8_fit(uint8_t *s, uint32_t len)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < len;) {
        unsigned want = utf8_len(s[i]), got = 1;
        uint8_t first = s[i];
        uint32_t cp = want > 1 ? first & (0xffu >> (want + 1)) : first;
        while (got < want && i + got < len && utf8_next_ok(first, got, s[i + got])) {
            cp = cp << 6 | (s[i + got] & 0x3f);
            got++;
        }
        if (got == want)
            s[n++] = uri_bestfit(cp);
        else if (want == 0 || i + got < len)
            s[n++] = '?';
        else
            for (unsigned k = 1; k < got; k++) /* cut off at the end: one for each byte but the first */
                s[n++] = '?';
        i += got;
    }
    return n;
}

/* ---- dot segments, RFC 3986 section 5.2.4, with libhtp's view of the ends ---- */

static uint32_t drop_segment(const uint8_t *s, uint32_t w)
{
    while (w > 0 && s[w - 1] != '/')
        w--;
    return w > 0 ? w - 1 : 0;
}

static uint32_t remove_dots(uint8_t *s, uint32_t len)
{
    uint32_t w = 0, i = 0;
    /* "./" and "../" in front, as often as they come; "." or ".." alone. */
    for (;;) {
        uint32_t dots = 0;
        while (i + dots < len && dots < 2 && s[i + dots] == '.')
            dots++;
        if (dots == 0)
            break;
        if (i + dots == len)
            return 0;
        if (s[i + dots] != '/')
            break;
        i += dots + 1;
    }
    while (i < len) {
        if (s[i] != '/') {
            s[w++] = s[i++];
            continue;
        }
        /* At "/": what is the segment behind it? The slash itself comes out with the segment. */
        uint32_t dots = 0;
        while (i + 1 + dots < len && dots < 3 && s[i + 1 + dots] == '.')
            dots++;
        bool ends = i + 1 + dots == len, seg = ends || s[i + 1 + dots] == '/';
        if (dots == 0 || dots > 2 || !seg) {
            s[w++] = s[i++];
            if (i < len && s[i] == '/') /* a second slash (from an overlong form) begins no segment */
                s[w++] = s[i++];
            continue;
        }
        if (dots == 2)
            w = drop_segment(s, w);
        i += dots + 1;
        if (i + 1 == len) /* "/./" or "/../" at the end: nothing is left of it */
            break;
    }
    return w;
}

/* ---- taking it apart ---- */

static uint32_t until(struct sk_span s, uint32_t from, const char *set)
{
    while (from < s.len && (s.p[from] == 0 || strchr(set, s.p[from]) == NULL))
        from++;
    return from;
}

/* Host at s[*i]: "[…]" or up to one of /?#: */
static bool host_at(struct sk_span s, uint32_t *i, struct sk_span *host)
{
    uint32_t at = *i;
    if (s.len - at >= 2 && s.p[at] == '/' && s.p[at + 1] == '/')
        at += 2;
    if (at == s.len || s.p[at] == '/')
        return false;
    while (at < s.len && s.p[at] == ' ')
        at++;
    uint32_t end;
    if (at < s.len && s.p[at] == '[' && until(s, at + 1, "/?#]") > at + 1) {
        end = until(s, at + 1, "/?#]");
        if (end < s.len && s.p[end] == ']')
            end++;
    } else {
        end = until(s, at, "/?#:");
    }
    if (end == at)
        return false;
    *i = end;
    *host = http_sub(s, at, end);
    while (host->len > 0 && host->p[host->len - 1] == ' ')
        host->len--;
    return true;
}

static bool port_at(struct sk_span s, uint32_t *i, struct sk_span *port)
{
    uint32_t at = *i;
    if (at == s.len || s.p[at] != ':')
        return false;
    at++;
    while (at < s.len && s.p[at] == ' ')
        at++;
    uint32_t end = until(s, at, "/?#");
    if (end == at)
        return false;
    *i = end;
    *port = http_trim(http_sub(s, at, end));
    return true;
}

bool uri_hostport(struct sk_span v, struct sk_span *host, struct sk_span *port)
{
    uint32_t i = 0;
    *port = (struct sk_span){0};
    if (!host_at(v, &i, host))
        return false;
    port_at(v, &i, port);
    return true;
}

static uint32_t parse_authority(struct http_uri *u, struct sk_span s)
{
    const uint8_t *colon = s.len > 0 && s.p[0] != '/' ? (const uint8_t *)memchr(s.p, ':', s.len) : NULL;
    if (colon == NULL)
        return 0;
    uint32_t i = (uint32_t)(colon - s.p) + 1;
    if (s.len - i >= 3 && s.p[i] == '/' && s.p[i + 1] == '/' && s.p[i + 2] != '/') {
        const uint8_t *at = (const uint8_t *)memchr(s.p + i + 2, '@', s.len - i - 2);
        if (at != NULL)
            i = (uint32_t)(at - s.p) + 1;
    }
    u->has_host = host_at(s, &i, &u->host);
    if (u->has_host)
        u->has_port = port_at(s, &i, &u->port);
    return i;
}

void uri_parse(struct http_tx *tx)
{
    struct http_uri *u = &tx->parts;
    struct sk_span s = tx->uri;
    if (tx->uri_parsed)
        return;
    tx->uri_parsed = true;
    if (tx->method_id == HM_CONNECT) {
        u->has_host = uri_hostport(s, &u->host, &u->port);
        u->has_port = u->port.len > 0;
        return;
    }
    uint32_t i = parse_authority(u, s), end = until(s, i, "#?");
    u->has_path = end > i;
    u->path = http_sub(s, i, end);
    if (end < s.len && s.p[end] == '?') {
        const uint8_t *hash = (const uint8_t *)memchr(s.p + end, '#', s.len - end);
        uint32_t q = hash ? (uint32_t)(hash - s.p) : s.len;
        u->has_query = true;
        u->query = http_sub(s, end + 1, q);
        end = q;
    }
    if (end < s.len && s.p[end] == '#') {
        u->has_fragment = true;
        u->fragment = http_sub(s, end + 1, s.len);
    }
}

/* ---- http.uri ---- */

/* Most requests: nothing to decode, nothing to remove. */
static bool is_normal(struct sk_span s)
{
    if (s.len == 0 || s.p[0] != '/')
        return false;
    uint8_t prev = 0;
    bool path = true;
    for (uint32_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c == '%')
            return false;
        if (c == '?' || c == '#')
            path = false;
        if (path && (c == '\\' || c >= 0x80 || (prev == '/' && (c == '/' || c == '.'))))
            return false;
        prev = c;
    }
    return true;
}

static struct sk_span normalize(struct http_tx *tx)
{
    const struct http_uri *u = &tx->parts;
    if (!u->has_path && !u->has_query && !u->has_fragment)
        return (struct sk_span){0};
    uint8_t *out = (uint8_t *)tx_alloc(tx, tx->uri.len + 2);
    if (out == NULL)
        return (struct sk_span){0};
    uint32_t n = 0;
    if (u->has_path) {
        n = path_decode(u->path, out);
        n = utf8_fit(out, n);
        n = remove_dots(out, n);
    }
    if (u->has_query) {
        out[n++] = '?';
        n += uri_decode(u->query, out + n, false);
    }
    if (u->has_fragment) {
        out[n++] = '#';
        n += uri_decode(u->fragment, out + n, false);
    }
    return sk_span_of(out, n);
}

struct sk_span uri_normalized(struct http_tx *tx)
{
    if (tx->norm_done)
        return tx->norm_uri;
    tx->norm_done = true;
    if (tx->no_request)
        return tx->norm_uri;
    if (tx->method_id != HM_CONNECT && is_normal(tx->uri)) {
        tx->norm_uri = tx->uri;
        return tx->norm_uri;
    }
    uri_parse(tx);
    tx->norm_uri = normalize(tx);
    if (tx->norm_uri.len == 0)
        tx->norm_uri = (struct sk_span){0};
    return tx->norm_uri;
}

/* ---- host ---- */

static uint16_t port_number(struct sk_span s)
{
    uint32_t n = 0;
    if (s.len == 0 || s.len > 5)
        return 0;
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return 0;
        n = n * 10 + (s.p[i] - '0');
    }
    return n <= 65535 ? (uint16_t)n : 0;
}

static struct sk_span lower(struct http_tx *tx, struct sk_span s)
{
    uint32_t i = 0;
    while (i < s.len && http_lower(s.p[i]) == s.p[i])
        i++;
    if (i == s.len)
        return s;
    uint8_t *out = (uint8_t *)tx_alloc(tx, s.len);
    if (out == NULL)
        return (struct sk_span){0};
    for (i = 0; i < s.len; i++)
        out[i] = http_lower(s.p[i]);
    return sk_span_of(out, s.len);
}

/* The host of the URI, decoded; without one, that of the Host header. Lower case. */
struct sk_span uri_host(struct http_tx *tx)
{
    if (tx->host_done)
        return tx->hostname;
    tx->host_done = true;
    uri_parse(tx);
    struct http_uri *u = &tx->parts;
    struct sk_span host = {0}, port = {0};
    if (u->has_host) {
        uint8_t *out = (uint8_t *)tx_alloc(tx, u->host.len);
        if (out == NULL)
            return tx->hostname;
        host = sk_span_of(out, uri_decode(u->host, out, false));
        while (host.len > 0 && host.p[host.len - 1] == '.' && tx->method_id != HM_CONNECT)
            host.len--;
        port = u->port;
    } else {
        const struct http_header *h = head_known(&tx->msg[HTTP_TS], HK_HOST);
        if (h == NULL || !uri_hostport(h->value, &host, &port))
            return tx->hostname;
    }
    tx->hostname = lower(tx, host);
    tx->port = port_number(port);
    return tx->hostname;
}
