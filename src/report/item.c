#define _XOPEN_SOURCE 700
#include "item.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "event/json.h"

/* "2026-01-02T03:04:05.123456+0000", which EVE always writes in UTC; anything else: now. In ms. */
static int64_t time_of(const json_t *event, int64_t now)
{
    const char *s = json_string_value(json_object_get(event, "timestamp"));
    struct tm tm = {0};
    const char *end = s != NULL ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (end == NULL)
        return now / SK_NS_PER_MS;
    int64_t ms = (int64_t)timegm(&tm) * 1000;
    if (*end == '.')
        ms +=
            (int64_t)strtol((char[]){end[1], end[1] ? end[2] : '\0', end[1] && end[2] ? end[3] : '\0', '\0'}, NULL, 10);
    return ms >= 0 ? ms : now / SK_NS_PER_MS;
}

static void leave_out(json_t *o, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_object_del(o, names[i]);
}

#define LEAVE_OUT(o, names) leave_out(o, names, sizeof(names) / sizeof((names)[0]))

/* What is the packet's and not the event's. */
static void trim(json_t *event)
{
    static const char *const top[] = {"payload", "payload_printable", "payload_length", "stream",
                                      "packet",  "packet_info",       "pcap_cnt",       "pcap_filename"};
    static const char *const http[] = {"http_request_body",  "http_request_body_printable",
                                       "http_response_body", "http_response_body_printable",
                                       "request_headers",    "response_headers"};
    LEAVE_OUT(event, top);
    LEAVE_OUT(json_object_get(event, "http"), http);
}

static char *dump(json_t *o)
{
    return json_dumps(o, JSON_COMPACT);
}

/* The parts that may be long, until it fits. */
static char *dump_within(json_t *item, json_t *event, size_t max)
{
    static const char *const parts[] = {"files", "fileinfo", "http", "tls", "metadata", "flow", "app_proto"};
    char *text = dump(item);
    for (size_t i = 0; text != NULL && strlen(text) > max && i < sizeof(parts) / sizeof(parts[0]); i++) {
        free(text);
        json_object_del(event, parts[i]);
        text = dump(item);
    }
    return text;
}

int item_event(const char *line, size_t len, int64_t now, char **item)
{
    *item = NULL;
    json_t *event = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(event)) {
        json_decref(event);
        return SK_EPROTO;
    }
    trim(event);
    json_t *o = json_pack("{s:s,s:I,s:O}", "type", "event", "time_ms", (json_int_t)time_of(event, now), "event", event);
    char *text = o != NULL ? dump_within(o, event, ITEM_EVENT_MAX) : NULL;
    json_decref(o);
    json_decref(event);
    if (text == NULL)
        return SK_ENOMEM;
    if (strlen(text) > ITEM_EVENT_MAX) {
        free(text);
        return SK_EFULL;
    }
    *item = text;
    return SK_OK;
}

/* As block_origin_name has them (enforce/blocktable.h), which is the guard's. */
static const char *origin_name(uint8_t origin)
{
    static const char *const names[] = {"rule", "operator", "fleet", "kernel"};
    return origin < sizeof(names) / sizeof(names[0]) ? names[origin] : "rule";
}

/* The manager refuses control characters: ASCII's, and those of U+0080..U+009F. */
static json_t *reason_json(const char reason[DECIDE_MSG_MAX])
{
    uint8_t buf[DECIDE_MSG_MAX];
    uint32_t len = (uint32_t)strnlen(reason, DECIDE_MSG_MAX);
    memcpy(buf, reason, len);
    for (uint32_t i = 0; i < len; i++) {
        if (buf[i] < 0x20 || buf[i] == 0x7f)
            buf[i] = ' ';
        else if (i > 0 && buf[i - 1] == 0xc2 && buf[i] >= 0x80 && buf[i] < 0xa0)
            buf[i - 1] = buf[i] = ' ';
    }
    return event_json_bytes(sk_span_of(buf, len));
}

static int give(json_t *o, char **item)
{
    *item = o != NULL ? dump(o) : NULL;
    json_decref(o);
    return *item != NULL ? SK_OK : SK_ENOMEM;
}

int item_block(const struct ipc_block_news *n, char **item)
{
    char target[SK_PREFIX_STRLEN];
    sk_prefix_format(&n->target, target);
    json_t *reason = reason_json(n->reason);
    json_t *o = json_pack("{s:s,s:s%,s:s,s:I,s:I,s:s,s:s,s:I,s:I,s:I,s:I,s:o}", "type", "block", "id", n->id,
                          strnlen(n->id, sizeof(n->id)), "target", target, "created_ms",
                          (json_int_t)(n->created / SK_NS_PER_MS), "expires_ms",
                          (json_int_t)(n->expires / SK_NS_PER_MS), "origin", origin_name(n->origin), "cause",
                          n->cause < DECIDE_REASON_COUNT ? decide_reason_name((enum decide_reason)n->cause) : "", "sid",
                          (json_int_t)n->sid, "gid", (json_int_t)n->gid, "score", (json_int_t)n->score, "repeat",
                          (json_int_t)n->repeat, "reason", reason);
    return give(o, item);
}

int item_end(const char *id, int64_t ended, const char *why, char **item)
{
    return give(json_pack("{s:s,s:s,s:I,s:s}", "type", "end", "id", id, "ended_ms", (json_int_t)(ended / SK_NS_PER_MS),
                          "why", why),
                item);
}
