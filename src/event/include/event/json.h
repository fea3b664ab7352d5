/*
 * Event records as EVE JSON: Suricata 8's field names and forms. Bytes of attackers become valid JSON text: what is not
 * printable UTF-8 is written as \xNN, as Suricata does (so the six characters backslash x N N appear in the value).
 */
#ifndef EVENT_JSON_H
#define EVENT_JSON_H

#include <jansson.h>
#include "base/strbuf.h"
#include "event/event.h"

struct event_json_opts {
    const char *const *ifaces; /* names by index; NULL: in_iface is left out */
    unsigned nifaces;
    bool payload, payload_printable; /* how EVENT_I_PAYLOAD is written */
};

/* One object, the caller's. SK_EPROTO: not a valid record; SK_ENOMEM. */
SK_MUST_USE int event_to_json(const void *rec, uint32_t len, const struct event_json_opts *opt, json_t **out);
/* The same as one line with its newline, appended to out. Also SK_EFULL. */
SK_MUST_USE int event_to_line(const void *rec, uint32_t len, const struct event_json_opts *opt, struct sk_strbuf *out);

/* A JSON string of hostile bytes, as above. NULL when out of memory. */
json_t *event_json_bytes(struct sk_span s);
/* payload_printable: bytes 0x20..0x7e, newline and carriage return stay, the rest is '.'. */
json_t *event_json_printable(struct sk_span s);
json_t *event_json_base64(struct sk_span s);

#endif
