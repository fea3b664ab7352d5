/* Files and arguments in bodies: multipart/form-data (RFC 7578), urlencoded, and whole bodies. */
#include "http/internal.h"

#define BOUNDARY_MAX 200 /* RFC 2046 allows 70 */

/* ---- parameters of header values ---- */

bool files_param(struct sk_span v, const char *name, struct sk_span *out)
{
    bool quoted = false;
    uint32_t from = 0;
    for (uint32_t i = 0; i <= v.len; i++) {
        if (i < v.len && v.p[i] == '"' && (i == 0 || v.p[i - 1] != '\\'))
            quoted = !quoted;
        if (i < v.len && (quoted || v.p[i] != ';'))
            continue;
        struct sk_span t = http_trim(http_sub(v, from, i));
        from = i + 1;
        if (!http_starts(t, name))
            continue;
        t = http_sub(t, (uint32_t)strlen(name), t.len);
        if (t.len > 0 && t.p[0] == '"')
            t = http_sub(t, 1, t.len);
        if (t.len > 0 && t.p[t.len - 1] == '"')
            t.len--;
        *out = t;
        return t.len > 0;
    }
    return false;
}

/* ---- multipart ---- */

struct part_iter {
    struct sk_span body;
    uint8_t delim[BOUNDARY_MAX + 2]; /* "--" and the boundary */
    uint32_t delim_len;
    uint32_t at; /* behind a delimiter */
    struct sk_span field, name;
    uint32_t off, len;
    bool has_name, complete;
};

static bool find(struct sk_span s, uint32_t from, const uint8_t *what, uint32_t n, uint32_t *at)
{
    if (from > s.len)
        return false;
    const uint8_t *p = (const uint8_t *)memmem(s.p + from, s.len - from, what, n);
    if (p == NULL)
        return false;
    *at = (uint32_t)(p - s.p);
    return true;
}

/* False: the body is not multipart, or its first delimiter has not come. */
static bool parts_begin(struct http_tx *tx, struct part_iter *it)
{
    const struct http_msg *m = &tx->msg[HTTP_TS];
    struct sk_span b;
    it->body = sk_span_of(m->body.mem.p, m->body.mem.len);
    if (!files_param(head_value(m, HK_CONTENT_TYPE), "boundary=", &b) || b.len > BOUNDARY_MAX)
        return false;
    it->delim[0] = it->delim[1] = '-';
    memcpy(it->delim + 2, b.p, b.len);
    it->delim_len = b.len + 2;
    uint32_t at;
    if (it->body.len == 0 || !find(it->body, 0, it->delim, it->delim_len, &at))
        return false;
    it->at = at + it->delim_len;
    return true;
}

static void part_header(struct part_iter *it, struct sk_span l)
{
    if (!http_starts(l, "content-disposition:"))
        return;
    struct sk_span v = http_sub(l, 20, l.len), s;
    if (files_param(v, "name=", &s))
        it->field = s;
    if (files_param(v, "filename=", &s)) {
        it->name = s;
        it->has_name = true;
    }
}

/* The end of the part's header lines; false: it has not come. Lines may end with LF alone. */
static bool part_headers(struct part_iter *it)
{
    struct sk_span b = it->body;
    for (;;) {
        uint32_t lf;
        if (!find(b, it->at, (const uint8_t *)"\n", 1, &lf))
            return false;
        struct sk_span l = http_trim(http_sub(b, it->at, lf));
        it->at = lf + 1;
        if (l.len == 0)
            return true;
        part_header(it, l);
    }
}

static bool parts_next(struct part_iter *it)
{
    struct sk_span b = it->body;
    uint32_t lf, end;
    /* "--" behind a delimiter ends the form. */
    if (b.len - it->at >= 2 && b.p[it->at] == '-' && b.p[it->at + 1] == '-')
        return false;
    if (!find(b, it->at, (const uint8_t *)"\n", 1, &lf))
        return false;
    it->at = lf + 1;
    it->field = it->name = (struct sk_span){0};
    it->has_name = false;
    if (!part_headers(it))
        return false;
    it->off = it->at;
    it->complete = find(b, it->at, it->delim, it->delim_len, &end);
    if (!it->complete) {
        /* What may be the beginning of the delimiter is not yet data. */
        uint32_t tail = it->delim_len + 1, left = b.len - it->off;
        it->len = left > tail ? left - tail : 0;
        it->at = b.len;
        return true;
    }
    it->at = end + it->delim_len;
    if (end > it->off && b.p[end - 1] == '\n')
        end--;
    if (end > it->off && b.p[end - 1] == '\r')
        end--;
    it->len = end - it->off;
    return true;
}

static void parts_make(struct http_tx *tx, struct http_parts *f)
{
    struct part_iter it = {0};
    f->n = 0;
    if (!parts_begin(tx, &it))
        return;
    while (f->n < HTTP_MAX_PARTS && parts_next(&it)) {
        if (!it.has_name)
            continue;
        struct http_part *p = &f->part[f->n++];
        *p = (struct http_part){
            .name = it.name, .field = it.field, .off = it.off, .len = it.len, .complete = it.complete};
        if (!p->complete && f->at_end) {
            /* The form broke off: all that is left is the file. */
            p->len = it.body.len - it.off;
            p->complete = true;
        }
    }
}

/* Number of multipart files in the request body as it is now. */
unsigned files_update(struct http_tx *tx)
{
    const struct http_body *b = &tx->msg[HTTP_TS].body;
    bool end = b->full || tx->progress[HTTP_TS] == HTTP_P_COMPLETE;
    if (tx->files == NULL) {
        tx->files = (struct http_parts *)tx_alloc(tx, sizeof *tx->files);
        if (tx->files == NULL)
            return 0;
        tx->files->made = false;
    }
    struct http_parts *f = tx->files;
    if (!f->made || f->at_len != b->mem.len || f->at_end != end) {
        f->made = true;
        f->at_len = b->mem.len;
        f->at_end = end;
        parts_make(tx, f);
    }
    return f->n;
}

/* A whole body as a file. */
static bool body_file(struct http_tx *tx, int dir, struct http_file *out)
{
    const struct http_msg *m = &tx->msg[dir];
    const struct http_body *b = &m->body;
    bool ended = tx->progress[dir] == HTTP_P_COMPLETE;
    if (b->data_len == 0)
        return false;
    uri_parse(tx);
    *out = (struct http_file){.name = tx->parts.path,
                              .data = sk_span_of(b->mem.p, b->mem.len),
                              .size = b->coded ? b->entity_len : b->data_len,
                              .complete = b->full || ended,
                              .gaps = b->gap,
                              .truncated = b->gap || !ended || (b->want && b->full) ||
                                           (m->has_cl && b->data_len < m->content_length)};
    return true;
}

static bool part_file(struct http_tx *tx, unsigned index, struct http_file *out)
{
    const struct http_body *b = &tx->msg[HTTP_TS].body;
    if (index >= files_update(tx))
        return false;
    const struct http_part *p = &tx->files->part[index];
    *out = (struct http_file){.name = p->name,
                              .field = p->field,
                              .data = sk_span_of(b->mem.p + p->off, p->len),
                              .size = p->len,
                              .complete = p->complete,
                              .gaps = b->gap && !p->complete,
                              .truncated = !p->complete || (b->full && p->off + p->len == b->mem.len)};
    return true;
}

static bool request_file(struct http_tx *tx, unsigned index, struct http_file *out)
{
    struct sk_span boundary;
    if (tx->method_id != HM_POST && tx->method_id != HM_PUT)
        return false;
    if (tx->method_id == HM_POST && files_param(head_value(&tx->msg[HTTP_TS], HK_CONTENT_TYPE), "boundary=", &boundary))
        return part_file(tx, index, out);
    return index == 0 && body_file(tx, HTTP_TS, out);
}

bool http_tx_file(struct http_tx *tx, int dir, unsigned index, struct http_file *out)
{
    if (dir == HTTP_TS)
        return request_file(tx, index, out);
    if (index > 0 || !body_file(tx, HTTP_TC, out))
        return false;
    files_param(head_value(&tx->msg[HTTP_TC], HK_CONTENT_DISPOSITION), "filename=", &out->name);
    return true;
}

/* ---- arguments ---- */

/* The index-th "name=value" of s; *index counts down past those that are there. */
static bool arg_at(struct sk_span s, unsigned *index, struct sk_span *name, struct sk_span *value)
{
    uint32_t from = 0;
    while (from <= s.len && s.len > 0) {
        const uint8_t *amp = from < s.len ? (const uint8_t *)memchr(s.p + from, '&', s.len - from) : NULL;
        uint32_t end = amp ? (uint32_t)(amp - s.p) : s.len;
        struct sk_span one = http_sub(s, from, end);
        from = end + 1;
        if (one.len == 0)
            continue;
        if ((*index)-- > 0)
            continue;
        const uint8_t *eq = (const uint8_t *)memchr(one.p, '=', one.len);
        uint32_t n = eq ? (uint32_t)(eq - one.p) : one.len;
        *name = http_sub(one, 0, n);
        *value = eq ? http_sub(one, n + 1, one.len) : (struct sk_span){.p = one.p};
        return true;
    }
    return false;
}

static bool decoded(struct http_tx *tx, struct sk_span *s)
{
    if (s->len == 0 || (memchr(s->p, '%', s->len) == NULL && memchr(s->p, '+', s->len) == NULL))
        return true;
    uint8_t *out = (uint8_t *)tx_alloc(tx, s->len);
    if (out == NULL)
        return false;
    *s = sk_span_of(out, uri_decode(*s, out, true));
    return true;
}

static bool multipart_arg(struct http_tx *tx, unsigned index, struct http_arg *out)
{
    struct part_iter it = {0};
    if (!parts_begin(tx, &it))
        return false;
    while (parts_next(&it)) {
        if (it.has_name || index-- > 0)
            continue;
        out->name = it.field;
        out->value = http_sub(it.body, it.off, it.off + it.len);
        return true;
    }
    return false;
}

bool http_tx_arg(struct http_tx *tx, unsigned index, struct http_arg *out)
{
    const struct http_msg *m = &tx->msg[HTTP_TS];
    struct sk_span ct = head_value(m, HK_CONTENT_TYPE);
    if (index >= HTTP_MAX_ARGS)
        return false;
    uri_parse(tx);
    out->source = HTTP_ARG_QUERY;
    if (arg_at(tx->parts.query, &index, &out->name, &out->value))
        return decoded(tx, &out->name) && decoded(tx, &out->value);
    out->source = HTTP_ARG_BODY;
    if (http_starts(ct, "multipart/form-data"))
        return multipart_arg(tx, index, out);
    if (!http_starts(ct, "application/x-www-form-urlencoded"))
        return false;
    struct sk_span body = sk_span_of(m->body.mem.p, m->body.mem.len);
    return arg_at(body, &index, &out->name, &out->value) && decoded(tx, &out->name) && decoded(tx, &out->value);
}
