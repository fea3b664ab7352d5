/* Inside of the JSON writer: an object under construction, with a sticky error. Not public. */
#ifndef EVENT_OBJECT_H
#define EVENT_OBJECT_H

#include "event/json.h"

struct writer {
    const struct event_rec *r;
    const struct event_json_opts *opt;
    bool bad; /* out of memory somewhere */
};

/* Steals v. */
void put(struct writer *w, json_t *obj, const char *key, json_t *v);
void put_str(struct writer *w, json_t *obj, const char *key, const char *s);
void put_int(struct writer *w, json_t *obj, const char *key, uint64_t v);
void put_bool(struct writer *w, json_t *obj, const char *key, bool v);
void put_time(struct writer *w, json_t *obj, const char *key, int64_t ns);
/* IPv6 in full, uncompressed, as EVE has it. */
void put_addr(struct writer *w, json_t *obj, const char *key, const struct sk_addr *a);
void put_span(struct writer *w, json_t *obj, const char *key, struct sk_span s);
/* The record's item of that kind; nothing when there is none. */
void put_item(struct writer *w, json_t *obj, const char *key, enum event_item id);
/* A new object under key; borrowed. NULL when out of memory, which the functions above take. */
json_t *put_object(struct writer *w, json_t *obj, const char *key);
/* The array under key, made when it is not there; borrowed. */
json_t *put_array(struct writer *w, json_t *obj, const char *key);
void append(struct writer *w, json_t *array, json_t *v);

/* The parts of each event type, in body.c. */
void write_alert(struct writer *w, json_t *root);
void write_http(struct writer *w, json_t *root);
void write_file(struct writer *w, json_t *root);
void write_flow(struct writer *w, json_t *root);
void write_drop(struct writer *w, json_t *root);
void write_anomaly(struct writer *w, json_t *root);
void write_block(struct writer *w, json_t *root);
void write_flood(struct writer *w, json_t *root);
void write_stats(struct writer *w, json_t *root);
void write_identity(struct writer *w, json_t *root);
void write_metadata(struct writer *w, json_t *root);
void write_bytes(struct writer *w, json_t *root);

const char *event_app_name(uint8_t app);

#endif
