/* Things to be sent, and the audit record. */
#include "ahead.h"

static int take_out(struct store *s, const char *sink, const char *payload, int64_t now)
{
    const char *where = later_text(s, sink), *text = later_text(s, payload);
    struct db_value *v = where && text ? later_row(&s->later.outgoing, 4) : NULL;
    if (!v)
        return SK_ENOMEM;
    v[0] = I(++s->numbers.outgoing);
    v[1] = T(where);
    v[2] = I(now);
    v[3] = T(text);
    s->later.any = true;
    return SK_OK;
}

int store_out_add(struct store *s, const char *sink, const char *payload, int64_t now)
{
    bool own;
    if (!inside_fits(sink, sizeof((struct store_out *)0)->sink))
        return SK_EFULL;
    if (!db_text_ok(sink) || !db_text_ok(payload))
        return SK_EINVAL;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_lock(s);
    if (rc == SK_OK)
        rc = take_out(s, sink, payload, now);
    s->notify = s->notify || rc == SK_OK;
    return inside_leave(s, own, rc);
}

struct out_reader {
    store_out_fn *fn;
    void *arg;
};

static void give_out(void *arg, const struct db_rows *r)
{
    const struct out_reader *g = arg;
    struct store_out o = {.id = db_int(r, 0),
                          .created = db_int(r, 2),
                          .next = db_int(r, 3),
                          .attempts = (int)db_int(r, 4),
                          .payload = db_text(r, 5)};
    db_copy(r, 1, o.sink, sizeof o.sink);
    g->fn(g->arg, &o);
}

int store_out_due(struct store *s, const char *sink, int64_t now, unsigned limit, store_out_fn *fn, void *arg)
{
    struct out_reader g = {fn, arg};
    return inside_each(s,
                       "SELECT id,sink,created,next,attempts,payload FROM outgoing WHERE sink=? AND next <= ?"
                       " ORDER BY next,id LIMIT ?",
                       ARGS(T(sink), I(now), I(limit)), give_out, &g);
}

int store_out_done(struct store *s, int64_t id)
{
    return inside_change(s, "DELETE FROM outgoing WHERE id=?", ARGS(I(id)));
}

int store_out_retry(struct store *s, int64_t id, int64_t next, const char *why)
{
    return inside_change(s, "UPDATE outgoing SET attempts=attempts+1,next=?,why=? WHERE id=?",
                         ARGS(I(next), T(why), I(id)));
}

/* A record that is too long is cut, not lost; what is no UTF-8 becomes "?". */
static const char *record_text(const char *text, char *buf, size_t cap)
{
    size_t len = 0;
    for (; text[len] && len + 1 < cap; len++)
        buf[len] = text[len];
    while (len > 0 && text[len] && ((uint8_t)text[len] & 0xc0) == 0x80)
        len--;
    buf[len] = '\0';
    if (!db_text_ok(buf))
        for (char *p = buf; *p; p++)
            *p = (uint8_t)*p < 0x80 ? *p : '?';
    return buf;
}

int store_audit(struct store *s, int64_t now, const char *who, const char *what, const char *detail)
{
    struct store_audit a;
    bool own;
    int rc = inside_enter(s, &own);
    if (rc == SK_OK)
        rc = inside_lock(s);
    if (rc == SK_OK)
        rc = db_exec(s->db, "INSERT INTO audit(id,time,who,what,detail) VALUES(?,?,?,?,?)",
                     ARGS(I(s->numbers.audit + 1), I(now), T(record_text(who, a.who, sizeof a.who)),
                          T(record_text(what, a.what, sizeof a.what)),
                          T(record_text(detail, a.detail, sizeof a.detail))),
                     NULL);
    if (rc == SK_OK)
        s->numbers.audit++;
    return inside_leave(s, own, rc);
}

struct audit_reader {
    store_audit_fn *fn;
    void *arg;
};

static void give_audit(void *arg, const struct db_rows *r)
{
    const struct audit_reader *g = arg;
    struct store_audit a = {.id = db_int(r, 0), .time = db_int(r, 1)};
    db_copy(r, 2, a.who, sizeof a.who);
    db_copy(r, 3, a.what, sizeof a.what);
    db_copy(r, 4, a.detail, sizeof a.detail);
    g->fn(g->arg, &a);
}

int store_audits(struct store *s, int64_t before, unsigned limit, store_audit_fn *fn, void *arg)
{
    struct audit_reader g = {fn, arg};
    return inside_each(s, "SELECT id,time,who,what,detail FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?",
                       ARGS(I(before > 0 ? before : STORE_FOREVER), I(limit)), give_audit, &g);
}
