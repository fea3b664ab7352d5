/* Where application data begins. */
#include "proto/tls.h"

#define RECORD_APPLICATION 23
#define RECORD_MAX         (16384 + 2048) /* fragment of a protected record, RFC 5246 section 6.2.3 */

static bool begin_record(struct tls_track *t)
{
    uint8_t type = t->head[0];
    t->left = (uint16_t)(t->head[3] << 8 | t->head[4]);
    t->have = 0;
    if (type < 20 || type > 24 || t->head[1] != 3 || t->left > RECORD_MAX) {
        t->lost = true;
        return false;
    }
    t->application = type == RECORD_APPLICATION;
    return !t->application;
}

bool tls_track_input(struct tls_track *t, struct sk_span d)
{
    while (d.len && !t->application && !t->lost) {
        if (t->left) {
            uint32_t n = d.len < t->left ? d.len : t->left;
            t->left = (uint16_t)(t->left - n);
            d.p += n;
            d.len -= n;
            continue;
        }
        t->head[t->have++] = *d.p++;
        d.len--;
        if (t->have == sizeof t->head && !begin_record(t))
            break;
    }
    return t->application || t->lost;
}

void tls_track_gap(struct tls_track *t, uint32_t len)
{
    if (len <= t->left)
        t->left = (uint16_t)(t->left - len);
    else
        t->lost = true;
}
