/*
 * Behind a hole: finding the next message, and whether what was found can be believed.
 *
 * A message is looked for at the start of a run of bytes only, by a strict rule. Whoever writes a body can make one of
 * his segments begin like that, so what is found is inspected and not believed: the connection is in doubt. Doubt ends
 * when the peers themselves have shown where a request begins. It takes for granted that whoever vouches for headers
 * asks again only when he has been answered; that the server answers each request once; and that responses have been
 * followed without a break (tc_doubt is false):
 *
 *   DOUBT   requests may be parts of the body of one that the hole has swallowed; that one is under way
 *   QUIET   a final response has ended, so the next one answers a request that is yet to begin; it may come early,
 *           with more of the old body to follow
 *   ASKING  since then all bytes to the server were one request, and " HTTP/1." stood in them once
 *   SURE    it is complete, and a response begins: the request that it answers lies within these bytes, thus is that
 * one
 *
 * Anything else on the way leads back to DOUBT. When responses, too, have been lost, the doubt stays (NEVER): both
 * sides of what is seen may then be written by one client (a tunnel looks like that).
 */
#include "http/internal.h"

static bool is_target(uint8_t c)
{
    return c > ' ' && c != 0x7f;
}

bool sync_request_starts(struct sk_span s)
{
    uint32_t i = 0, from;
    while (i < s.len && i < 16 && s.p[i] >= 'A' && s.p[i] <= 'Z')
        i++;
    enum http_method m = request_method(http_sub(s, 0, i));
    if (m == HM_UNKNOWN || m == HM_CONNECT || i == s.len || s.p[i] != ' ')
        return false;
    for (from = ++i; i < s.len && is_target(s.p[i]);)
        i++;
    /* " HTTP/1.x" CR LF */
    return i > from && s.len - i >= 11 && memcmp(s.p + i, " HTTP/1.", 8) == 0 &&
           (s.p[i + 8] == '0' || s.p[i + 8] == '1') && s.p[i + 9] == '\r' && s.p[i + 10] == '\n';
}

/* Final responses only: an interim one, or the start of another protocol, is not believed here. */
bool sync_response_starts(struct sk_span s)
{
    const uint8_t *p = s.p;
    return s.len >= 13 && memcmp(p, "HTTP/1.", 7) == 0 && (p[7] == '0' || p[7] == '1') && p[8] == ' ' && p[9] >= '2' &&
           p[9] <= '5' && p[10] >= '0' && p[10] <= '9' && p[11] >= '0' && p[11] <= '9' &&
           (p[12] == ' ' || p[12] == '\r');
}

bool sync_is_shaky(const struct http_conn *conn, int dir)
{
    return conn->sync.state != SYNC_SURE || (dir == HTTP_TC && conn->sync.tc_doubt);
}

void sync_broken(struct http_conn *conn)
{
    if (conn->sync.state != SYNC_SURE)
        conn->sync.state = SYNC_NEVER;
}

void sync_doubt(struct http_conn *conn)
{
    struct http_sync *y = &conn->sync;
    if (y->state != SYNC_NEVER)
        y->state = y->tc_doubt ? SYNC_NEVER : SYNC_DOUBT;
}

void sync_lost(struct http_conn *conn, int dir)
{
    if (dir == HTTP_TS) {
        sync_doubt(conn);
        if (conn->cur[HTTP_TC] != NULL)
            sync_broken(conn);
        return;
    }
    sync_broken(conn);
    conn->sync.tc_doubt = true;
    for (struct http_tx *tx = conn->head; tx != NULL; tx = tx->next)
        tx->alone = false;
}

static void count_protocols(struct http_sync *y, struct sk_span s)
{
    static const char word[] = " HTTP/1.";
    for (uint32_t i = 0; i < s.len && y->hits < 2; i++) {
        if (s.p[i] == (uint8_t)word[y->matched])
            y->matched++;
        else
            y->matched = s.p[i] == ' ';
        if (y->matched == sizeof word - 1) {
            y->matched = 0;
            y->hits++;
        }
    }
}

void sync_request_bytes(struct http_conn *conn, struct sk_span data)
{
    struct http_sync *y = &conn->sync;
    const struct http_tx *cur = conn->cur[HTTP_TS];
    if (y->state == SYNC_SURE || y->state == SYNC_NEVER)
        return;
    if (conn->cur[HTTP_TC] != NULL) {
        y->state = SYNC_NEVER; /* where that response ends was a guess: it may have been one to HEAD */
        return;
    }
    bool starts = y->state == SYNC_QUIET && conn->head == NULL && sync_request_starts(data);
    if (starts)
        y->hits = y->matched = 0;
    else if (y->state != SYNC_ASKING || cur == NULL || cur != conn->head)
        y->state = SYNC_DOUBT;
    if (y->state == SYNC_DOUBT)
        return;
    y->state = SYNC_ASKING;
    count_protocols(y, data);
}

void sync_response_begins(struct http_conn *conn, struct sk_span data)
{
    struct http_sync *y = &conn->sync;
    const struct http_tx *tx = conn->head;
    if (y->state == SYNC_SURE || y->state == SYNC_NEVER)
        return;
    if (data.len < 7 || memcmp(data.p, "HTTP/1.", 7) != 0 || y->state == SYNC_QUIET) {
        y->state = SYNC_NEVER; /* nobody has asked for that */
        return;
    }
    if (y->state != SYNC_ASKING)
        return;
    bool one = tx != NULL && tx->next == NULL && y->hits == 1 && tx->progress[HTTP_TS] == HTTP_P_COMPLETE &&
               conn->side[HTTP_TS].state == ST_IDLE;
    y->state = one && !http_tx_misframed(tx) ? SYNC_SURE : SYNC_DOUBT;
}

void sync_response_ends(struct http_conn *conn, const struct http_tx *tx)
{
    struct http_sync *y = &conn->sync;
    bool final = tx->status >= 200;
    if (y->state == SYNC_SURE) {
        if (tx->alone && final)
            y->tc_doubt = false; /* begun when the server had nothing left to say, and answered */
        return;
    }
    if (y->state == SYNC_NEVER)
        return;
    if (tx->status == 0 || tx->method_id == HM_HEAD || tx->method_id == HM_CONNECT)
        y->state = SYNC_NEVER; /* whether it has a body depends on who has asked */
    else
        y->state = final ? SYNC_QUIET : SYNC_DOUBT;
}

bool http_conn_in_doubt(const struct http_conn *conn)
{
    return conn->sync.state != SYNC_SURE || conn->sync.tc_doubt;
}
