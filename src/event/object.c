#include "object.h"

#include <stdio.h>
#include "base/clock.h"

void put(struct writer *w, json_t *obj, const char *key, json_t *v)
{
    if (obj == NULL || v == NULL) {
        json_decref(v);
        w->bad = true;
        return;
    }
    if (json_object_set_new_nocheck(obj, key, v) != 0)
        w->bad = true;
}

void put_str(struct writer *w, json_t *obj, const char *key, const char *s)
{
    put(w, obj, key, json_string_nocheck(s));
}

void put_int(struct writer *w, json_t *obj, const char *key, uint64_t v)
{
    put(w, obj, key, json_integer((json_int_t)(v > INT64_MAX ? INT64_MAX : v)));
}

void put_bool(struct writer *w, json_t *obj, const char *key, bool v)
{
    put(w, obj, key, json_boolean(v));
}

void put_time(struct writer *w, json_t *obj, const char *key, int64_t ns)
{
    char buf[40];
    put_str(w, obj, key, sk_time_format(ns, buf));
}

void put_addr(struct writer *w, json_t *obj, const char *key, const struct sk_addr *a)
{
    char buf[SK_ADDR_STRLEN];
    if (sk_addr_is_v4(a)) {
        put_str(w, obj, key, sk_addr_format(a, buf));
        return;
    }
    char *p = buf;
    for (int i = 0; i < 16; i += 2)
        p += sprintf(p, i == 0 ? "%02x%02x" : ":%02x%02x", a->b[i], a->b[i + 1]);
    put_str(w, obj, key, buf);
}

void put_span(struct writer *w, json_t *obj, const char *key, struct sk_span s)
{
    put(w, obj, key, event_json_bytes(s));
}

void put_item(struct writer *w, json_t *obj, const char *key, enum event_item id)
{
    struct sk_span s;
    if (event_find_item(w->r, id, &s))
        put_span(w, obj, key, s);
}

json_t *put_object(struct writer *w, json_t *obj, const char *key)
{
    json_t *o = json_object();
    put(w, obj, key, o);
    return json_object_get(obj, key);
}

json_t *put_array(struct writer *w, json_t *obj, const char *key)
{
    json_t *a = json_object_get(obj, key);
    if (a != NULL)
        return a;
    put(w, obj, key, json_array());
    return json_object_get(obj, key);
}

void append(struct writer *w, json_t *array, json_t *v)
{
    if (array == NULL || v == NULL) {
        json_decref(v);
        w->bad = true;
        return;
    }
    if (json_array_append_new(array, v) != 0)
        w->bad = true;
}
