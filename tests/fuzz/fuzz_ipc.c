/*
 * What a taken-over engine or uplink can send: byte 0 chooses the message decoder, the event ring (the bytes are the
 * ring's memory, its head included), or an event record on its way to JSON.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "event/json.h"
#include "ipc/message.h"
#include "ipc/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_message(const uint8_t *data, size_t size)
{
    static struct ipc_msg m;
    if (ipc_decode(data, size, size & 1, &m) == SK_OK && m.len != ipc_body_size(m.type))
        abort();
}

static uint8_t *ring_memory(struct ipc_rings **rings)
{
    static struct ipc_rings *r;
    static uint8_t *map;
    if (map == NULL) {
        int fd;
        if (ipc_rings_create(1, IPC_RING_MIN, &fd) != SK_OK || ipc_rings_map(fd, 1, IPC_RING_MIN, &r) != SK_OK)
            abort();
        map = (uint8_t *)mmap(NULL, IPC_RING_HEADER + IPC_RING_MIN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    *rings = r;
    return map;
}

static void fuzz_ring(const uint8_t *data, size_t size)
{
    static uint8_t buf[IPC_RING_REC_MAX];
    struct ipc_rings *rings;
    uint8_t *map = ring_memory(&rings);
    if (size < 16)
        return;
    memcpy(map, data, 8);          /* head */
    memcpy(map + 64, data + 8, 8); /* tail, as left by a consumer before */
    size_t n = size - 16 < IPC_RING_MIN ? size - 16 : IPC_RING_MIN;
    memcpy(map + IPC_RING_HEADER, data + 16, n);
    struct ipc_consumer c;
    ipc_consumer_init(&c, rings, 0);
    uint32_t len;
    for (unsigned i = 0; i < IPC_RING_MIN / 8 + 2; i++) {
        int rc = ipc_consume(&c, buf, sizeof(buf), &len);
        if (rc == SK_EAGAIN)
            return;
        if (rc == SK_OK && (len == 0 || len > sizeof(buf)))
            abort();
        if (i > IPC_RING_MIN / 8)
            abort(); /* more records than bytes: it goes in circles */
    }
}

static void fuzz_record(const uint8_t *data, size_t size)
{
    static _Alignas(8) uint8_t buf[EVENT_MAX];
    static const struct event_json_opts opts = {.payload = true, .payload_printable = true};
    if (size > sizeof(buf))
        return;
    memcpy(buf, data, size);
    struct sk_strbuf line;
    sk_strbuf_init(&line, 4 << 20);
    if (event_to_line(buf, (uint32_t)size, &opts, &line) == SK_OK) {
        json_t *j = json_loadb(line.p, line.len, JSON_ALLOW_NUL, NULL);
        if (j == NULL)
            abort();
        json_decref(j);
    }
    sk_strbuf_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    switch (data[0] % 3) {
    case 0: fuzz_message(data + 1, size - 1); break;
    case 1: fuzz_ring(data + 1, size - 1); break;
    default: fuzz_record(data + 1, size - 1); break;
    }
    return 0;
}
