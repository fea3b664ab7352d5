/*
 * X-Forwarded-For and its like: entries between commas. Nothing but a comma divides, also inside quotes: what a hop
 * appends holds no comma, so what stands behind the last one is the hop's, whatever the client wrote before it.
 */
#include "identity_internal.h"

static struct sk_span without_quotes(struct sk_span s)
{
    if (s.len >= 2 && s.p[0] == '"' && s.p[s.len - 1] == '"')
        return sk_span_of(s.p + 1, s.len - 2);
    return s;
}

bool id_list_line(struct id_walk *w, struct sk_span line)
{
    while (line.len > 0) {
        const uint8_t *comma = (const uint8_t *)memrchr(line.p, ',', line.len);
        uint32_t begin = comma ? (uint32_t)(comma - line.p + 1) : 0;
        struct sk_span s = sk_span_trim(sk_span_of(line.p + begin, line.len - begin));
        struct id_entry e;
        if (!id_walk_look(w))
            return false;
        if (s.len > 0 && !id_walk_take(w, id_entry_parse(without_quotes(s), false, &e), &e))
            return false;
        if (comma == NULL)
            return true;
        line.len = begin - 1;
    }
    return id_walk_look(w);
}
