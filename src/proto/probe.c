#include "proto/probe.h"

#define METHOD_MAX 32 /* characters of a method that nobody knows */

/* How a run of first bytes compares with a pattern. */
enum fit { FIT_NO, FIT_MAYBE /* the bytes so far agree */, FIT_YES };

/* upper: pattern in capitals, compared without regard to case. */
static enum fit fit_text(struct sk_span d, const char *upper)
{
    uint32_t n = (uint32_t)strlen(upper);
    for (uint32_t i = 0; i < n; i++) {
        if (i == d.len)
            return FIT_MAYBE;
        uint8_t c = d.p[i];
        if (c >= 'a' && c <= 'z')
            c = (uint8_t)(c & ~0x20);
        if (c != (uint8_t)upper[i])
            return FIT_NO;
    }
    return FIT_YES;
}

static enum fit better(enum fit a, enum fit b)
{
    return a > b ? a : b;
}

static enum fit fit_any(struct sk_span d, const char *const *words, unsigned n)
{
    enum fit f = FIT_NO;
    for (unsigned i = 0; i < n && f != FIT_YES; i++)
        f = better(f, fit_text(d, words[i]));
    return f;
}
#define FIT_ANY(d, words) fit_any(d, words, sizeof(words) / sizeof *(words))

/* A method followed by a space or tab. */
static enum fit fit_method(struct sk_span d)
{
    static const char *const methods[] = {
        "GET",
        "PUT",
        "POST",
        "HEAD",
        "TRACE",
        "OPTIONS",
        "CONNECT",
        "DELETE",
        "PATCH",
        "PROPFIND",
        "MKCOL",
        "PROPPATCH",
        "COPY",
        "MOVE",
        "LOCK",
        "UNLOCK",
        "VERSION-CONTROL",
        "CHECKOUT",
        "UNCHECKOUT",
        "CHECKIN",
        "UPDATE",
        "LABEL",
        "REPORT",
        "MKWORKSPACE",
        "MKACTIVITY",
        "BASELINE-CONTROL",
        "MERGE",
        "INVALID",
    };
    enum fit f = FIT_NO;
    for (unsigned i = 0; i < sizeof methods / sizeof *methods; i++) {
        uint32_t n = (uint32_t)strlen(methods[i]);
        enum fit one = fit_text(d, methods[i]);
        if (one == FIT_YES && d.len == n)
            one = FIT_MAYBE;
        else if (one == FIT_YES && d.p[n] != ' ' && d.p[n] != '\t')
            one = FIT_NO;
        f = better(f, one);
    }
    return f;
}

static bool is_method_char(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

/*
 * A request line with a method of somebody's own ("CUST /path HTTP/1.1"), which servers hand to their applications.
 * Told from the client's line, because what is decided only by the answer has lost the request's later bytes.
 */
static enum fit fit_request_line(struct sk_span d)
{
    static const char *const targets[] = {"/", "*", "HTTP://", "HTTPS://"};
    uint32_t n = 0;
    while (n < d.len && n < METHOD_MAX && is_method_char(d.p[n]))
        n++;
    if (n == d.len)
        return FIT_MAYBE;
    if (n == 0 || d.p[n] != ' ')
        return FIT_NO;
    struct sk_span rest = sk_span_of(d.p + n + 1, d.len - n - 1);
    enum fit target = FIT_ANY(rest, targets);
    if (target != FIT_YES)
        return target;
    const uint8_t *eol = memchr(rest.p, '\n', rest.len);
    if (!eol)
        return d.len >= PROTO_PROBE_MAX ? FIT_YES : FIT_MAYBE;
    return memmem(rest.p, (size_t)(eol - rest.p), " HTTP/1.", 8) ? FIT_YES : FIT_NO;
}

static enum fit fit_http(int dir, struct sk_span d)
{
    static const char *const versions[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/0.9"};
    if (dir == 1)
        return FIT_ANY(d, versions);
    while (d.len > 0 && (d.p[0] == '\r' || d.p[0] == '\n')) { /* servers pass over empty lines (RFC 9112 section 2.2) */
        d.p++;
        d.len--;
    }
    return d.len == 0 ? FIT_MAYBE : better(fit_method(d), fit_request_line(d));
}

/* A TLS record (RFC 8446 section 5.1), or an SSLv2 client hello that offers SSLv3 or TLS (RFC 5246 appendix E.2). */
static enum fit fit_tls(int dir, struct sk_span d)
{
    if (d.p[0] >= 0x14 && d.p[0] <= 0x17) {
        if (d.len < 3)
            return d.len < 2 || d.p[1] == 3 ? FIT_MAYBE : FIT_NO;
        return d.p[1] == 3 && d.p[2] <= 4 ? FIT_YES : FIT_NO;
    }
    if (dir != 0 || !(d.p[0] & 0x80))
        return FIT_NO;
    if (d.len < 5)
        return d.len < 3 || d.p[2] == 1 ? FIT_MAYBE : FIT_NO;
    return d.p[2] == 1 && d.p[3] == 3 && d.p[4] <= 4 ? FIT_YES : FIT_NO;
}

/* NetBIOS session header, then the SMB1 or SMB2 magic. */
static enum fit fit_smb(struct sk_span d)
{
    if (d.p[0] != 0)
        return FIT_NO;
    if (d.len < 8)
        return d.len > 4 && d.p[4] != 0xff && d.p[4] != 0xfe ? FIT_NO : FIT_MAYBE;
    return (d.p[4] == 0xff || d.p[4] == 0xfe) && memcmp(d.p + 5, "SMB", 3) == 0 ? FIT_YES : FIT_NO;
}

/* DNS over TCP (RFC 1035 section 4.2.2), on its port only: the header has little to tell it by. */
static enum fit fit_dns(const struct proto_probe *st, int dir, struct sk_span d)
{
    if (st->server_port != 53)
        return FIT_NO;
    if (d.len < 14)
        return FIT_MAYBE;
    uint32_t len = (uint32_t)d.p[0] << 8 | d.p[1], questions = (uint32_t)d.p[6] << 8 | d.p[7];
    bool response = (d.p[4] & 0x80) != 0;
    return len >= 12 && questions <= 8 && response == (dir == 1) ? FIT_YES : FIT_NO;
}

static const char *const smtp_words[] = {"EHLO ", "HELO ", "EHLO\r", "HELO\r", "MAIL FROM:"};
static const char *const ftp_words[] = {"USER ", "PASS ",    "PORT ",    "EPRT ", "PASV", "EPSV",
                                        "FEAT",  "AUTH TLS", "AUTH SSL", "OPTS ", "SYST"};

static bool has_word(struct sk_span d, const char *upper)
{
    for (; d.len > 0; d.p++, d.len--) {
        if (fit_text(d, upper) == FIT_YES)
            return true;
    }
    return false;
}

/* "220 …" greets in SMTP and in FTP. The text, the port, or the client's first words tell which. */
static enum fit fit_banner(struct proto_probe *st, struct sk_span d, enum proto_id *id)
{
    enum fit f = better(fit_text(d, "220 "), fit_text(d, "220-"));
    if (f != FIT_YES)
        return f;
    st->banner_220 = true;
    if (st->server_port == 21 || has_word(d, "FTP"))
        *id = PROTO_FTP;
    else if (st->server_port == 25 || st->server_port == 587 || st->server_port == 465 || has_word(d, "SMTP"))
        *id = PROTO_SMTP;
    else
        return FIT_MAYBE;
    return FIT_YES;
}

static enum fit fit_mail(struct proto_probe *st, int dir, struct sk_span d, enum proto_id *id)
{
    if (dir == 1)
        return fit_banner(st, d, id);
    enum fit smtp = FIT_ANY(d, smtp_words), ftp = FIT_ANY(d, ftp_words);
    if (ftp == FIT_YES && st->server_port != 21 && !st->banner_220)
        ftp = FIT_MAYBE;
    *id = smtp == FIT_YES ? PROTO_SMTP : PROTO_FTP;
    return better(smtp, ftp);
}

struct guess {
    enum proto_id id;
    enum fit fit;
};

static void consider(struct guess *g, enum proto_id id, enum fit f)
{
    if (g->fit != FIT_YES && f > g->fit)
        *g = (struct guess){.id = id, .fit = f};
}

static struct guess guess_of(struct proto_probe *st, int dir, struct sk_span d)
{
    struct guess g = {PROTO_UNKNOWN, FIT_NO};
    enum proto_id mail = PROTO_SMTP;
    consider(&g, PROTO_HTTP2, dir == 0 ? fit_text(d, "PRI * HTTP/2.0\r\n") : FIT_NO);
    consider(&g, PROTO_HTTP, fit_http(dir, d));
    consider(&g, PROTO_TLS, fit_tls(dir, d));
    consider(&g, PROTO_SSH, fit_text(d, "SSH-"));
    consider(&g, PROTO_SMB, fit_smb(d));
    consider(&g, PROTO_DNS, fit_dns(st, dir, d));
    enum fit f = fit_mail(st, dir, d, &mail);
    consider(&g, mail, f);
    return g;
}

enum proto_id proto_probe(struct proto_probe *st, int dir, struct sk_span data, bool eof, bool other_silent)
{
    if (data.len > 0 && !st->failed[dir]) {
        struct guess g = guess_of(st, dir, data);
        if (g.fit == FIT_YES)
            return g.id;
        st->failed[dir] = g.fit == FIT_NO;
    }
    if (eof || data.len >= PROTO_PROBE_MAX)
        st->failed[dir] = true;
    return st->failed[dir] && (st->failed[!dir] || other_silent) ? PROTO_FAILED : PROTO_UNKNOWN;
}

const char *proto_name(enum proto_id id)
{
    static const char *const names[PROTO_COUNT] = {
        [PROTO_UNKNOWN] = "unknown", [PROTO_HTTP] = "http",     [PROTO_TLS] = "tls", [PROTO_DNS] = "dns",
        [PROTO_SSH] = "ssh",         [PROTO_SMTP] = "smtp",     [PROTO_FTP] = "ftp", [PROTO_SMB] = "smb",
        [PROTO_HTTP2] = "http2",     [PROTO_FAILED] = "failed",
    };
    return (unsigned)id < PROTO_COUNT ? names[id] : "unknown";
}
