/* What a manager may answer, and lines of events; the first byte says which. What has been taken must be in bounds. */
#include <stdlib.h>
#include <string.h>
#include "answer.h"
#include "item.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void feed(const char *p, size_t n)
{
    struct answer_feed f;
    struct ipc_fleet e;
    if (answer_feed(p, n, &f) != SK_OK)
        return;
    must(f.seq >= 0 && f.epoch[0] != '\0');
    for (size_t i = 0; i < json_array_size(f.entries); i++) {
        if (answer_feed_entry(&f, i, "AAAAAAAAAAAAAAAAAAAAAAAAAAA", &e) != SK_OK)
            continue;
        must(e.target.len > 0 && e.target.len <= 128 && e.expires >= 0 && e.created >= 0);
        must(memchr(e.id, 0, sizeof(e.id)) && memchr(e.host, 0, sizeof(e.host)) &&
             memchr(e.reason, 0, sizeof(e.reason)));
    }
    answer_feed_free(&f);
}

static void bundle(const char *p, size_t n)
{
    struct ipc_signed s;
    json_t *root;
    const char *payload;
    size_t len;
    if (answer_bundle(p, n, 1, "rules", &s, &root, &payload, &len) != SK_OK)
        return;
    must(s.version > 0 && len > 0 && strlen(payload) <= len);
    json_decref(root);
}

static void found(const char *p, size_t n)
{
    struct ipc_found f = {.id = 1};
    if (answer_found(p, n, &f) != SK_OK)
        return;
    must(f.nsets <= IPC_WAF_SETS && memchr(f.host, 0, sizeof(f.host)) && memchr(f.block, 0, sizeof(f.block)));
    for (uint32_t i = 0; i < f.nsets; i++)
        must(memchr(f.set[i], 0, IPC_SET_NAME) != NULL);
}

static void cert(const char *p, size_t n, bool enrolment)
{
    struct answer_cert a;
    if (answer_cert(p, n, enrolment, &a) != SK_OK)
        return;
    must(a.certificate != NULL && a.ca != NULL && (!enrolment || strlen(a.agent) == 27));
    answer_cert_free(&a);
}

static void event(const char *p, size_t n)
{
    char *item;
    if (item_event(p, n, 1, &item) != SK_OK)
        return;
    must(strlen(item) <= ITEM_EVENT_MAX && strncmp(item, "{\"type\":\"event\"", 15) == 0);
    free(item);
}

static void numbers(const char *p, size_t n)
{
    struct answer_batch b;
    struct answer_news news;
    char code[ANSWER_CODE_LEN];
    int64_t next;
    if (answer_batch(p, n, &b) == SK_OK)
        must(b.seq > 0 && b.refused >= 0);
    if (answer_gap(p, n, &next) == SK_OK)
        must(next > 0);
    if (answer_beat(p, n, &news) == SK_OK)
        must(news.heartbeat_s > 0 && news.rules_version >= 0);
    answer_error(p, n, code);
    must(strlen(code) < sizeof(code));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *p = (char *)malloc(size); /* of its own length: nothing behind it may be read */
    size_t n = size - 1;
    if (p == NULL)
        return 0;
    memcpy(p, data + 1, n);
    switch (data[0]) {
    case 'f': feed(p, n); break;
    case 'b': bundle(p, n); break;
    case 'w': found(p, n); break;
    case 'e': cert(p, n, true); break;
    case 'r': cert(p, n, false); break;
    case 'v': event(p, n); break;
    default: numbers(p, n); break;
    }
    free(p);
    return 0;
}
