/* The event ring: in order, bounded, cheap to wake, and deaf to a hostile producer. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "ipc/ring.h"

#define SIZE IPC_RING_MIN

static int fd, wake;
static struct ipc_rings *rings;
static struct ipc_producer prod;
static struct ipc_consumer cons;
static uint8_t rec[IPC_RING_REC_MAX], got[IPC_RING_REC_MAX];

static int setup(void **state)
{
    (void)state;
    wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ipc_rings_create(2, SIZE, &fd) != SK_OK || ipc_rings_map(fd, 2, SIZE, &rings) != SK_OK)
        return -1;
    ipc_producer_init(&prod, rings, 1, wake);
    ipc_consumer_init(&cons, rings, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ipc_rings_unmap(rings);
    close(fd);
    close(wake);
    return 0;
}

static uint32_t length_of(uint32_t i)
{
    return 1 + i * 2654435761u % 3000;
}

static void records_keep_order_and_content_over_many_turns(void **state)
{
    (void)state;
    uint32_t next = 0, len;
    for (uint32_t i = 0; i < 5000; i++) {
        memset(rec, (int)i, length_of(i));
        assert_int_equal(ipc_produce(&prod, rec, length_of(i)), SK_OK);
        if (i % 7 != 6)
            continue;
        while (ipc_consume(&cons, got, sizeof(got), &len) == SK_OK) {
            assert_int_equal(len, length_of(next));
            assert_int_equal(got[0], next & 255);
            assert_int_equal(got[len - 1], next & 255);
            next++;
        }
        assert_int_equal(next, i + 1);
    }
    assert_int_equal(cons.garbage, 0);
}

static void a_full_ring_drops_the_new_record_and_keeps_the_old(void **state)
{
    (void)state;
    uint32_t n = 0, len;
    memset(rec, 1, 1000);
    while (ipc_produce(&prod, rec, 1000) == SK_OK)
        n++;
    assert_true(n > SIZE / 1016 - 2);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(ipc_consume(&cons, got, sizeof(got), &len), SK_OK);
    assert_int_equal(ipc_consume(&cons, got, sizeof(got), &len), SK_EAGAIN);
    assert_int_equal(ipc_produce(&prod, rec, IPC_RING_REC_MAX), SK_OK);
    assert_int_equal(ipc_consume(&cons, got, sizeof(got), &len), SK_OK);
    assert_int_equal(len, IPC_RING_REC_MAX);
    assert_int_equal(ipc_produce(&prod, rec, 0), SK_EINVAL);
    assert_int_equal(ipc_produce(&prod, rec, IPC_RING_REC_MAX + 1), SK_EINVAL);
}

static void one_wake_up_a_sleep(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_int_equal(ipc_produce(&prod, "a", 1), SK_OK);
    ipc_producer_wake(&prod);
    assert_int_equal(read(wake, &v, 8), -1); /* nobody sleeps */
    assert_true(ipc_consumer_sleep(&cons));  /* there is something: do not */
    uint32_t len;
    assert_int_equal(ipc_consume(&cons, got, sizeof(got), &len), SK_OK);
    assert_false(ipc_consumer_sleep(&cons));
    for (int i = 0; i < 10; i++)
        assert_int_equal(ipc_produce(&prod, "a", 1), SK_OK);
    assert_int_equal(read(wake, &v, 8), -1); /* not before the producer is through */
    for (int i = 0; i < 10; i++)
        ipc_producer_wake(&prod);
    assert_int_equal(read(wake, &v, 8), 8);
    assert_int_equal(v, 1);
    while (ipc_consume(&cons, got, sizeof(got), &len) == SK_OK)
        ;
    assert_false(ipc_consumer_sleep(&cons));
    ipc_producer_wake(&prod);
    assert_int_equal(read(wake, &v, 8), -1); /* nothing new: let it sleep */
}

static void a_new_producer_goes_on_behind_a_dead_one(void **state)
{
    (void)state;
    uint32_t len;
    assert_int_equal(ipc_produce(&prod, "one", 3), SK_OK);
    ipc_producer_init(&prod, rings, 1, wake);
    assert_int_equal(ipc_produce(&prod, "two", 3), SK_OK);
    assert_int_equal(ipc_consume(&cons, got, sizeof(got), &len), SK_OK);
    assert_memory_equal(got, "one", 3);
    ipc_consumer_init(&cons, rings, 1); /* and a new consumer behind a dead one */
    assert_int_equal(ipc_consume(&cons, got, sizeof(got), &len), SK_OK);
    assert_memory_equal(got, "two", 3);
}

/* Whatever stands in shared memory: no crash, no endless loop, and honest records get through afterwards. */
static void a_hostile_producer_loses_only_its_own_events(void **state)
{
    (void)state;
    uint8_t *map = (uint8_t *)mmap(NULL, 2 * (IPC_RING_HEADER + SIZE), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    uint8_t *base = map + IPC_RING_HEADER + SIZE;
    static const uint64_t heads[] = {1, 7, 8, 9, SIZE, SIZE + 8, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63};
    static const uint32_t lens[] = {0, 1, 8, SIZE, SIZE - 8, 65536, 65537, UINT32_MAX, UINT32_MAX - 7, 0x80000000};
    uint32_t len;
    srand(1);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t head = heads[(unsigned)rand() % 9] + (i % 3 ? cons.tail : 0);
        uint32_t n = lens[(unsigned)rand() % 10];
        memcpy(base, &head, 8);
        memcpy(base + IPC_RING_HEADER + (cons.tail & (SIZE - 1)), &n, 4);
        for (int turn = 0; turn < 4; turn++)
            if (ipc_consume(&cons, got, sizeof(got), &len) == SK_OK)
                assert_true(len >= 1 && len <= IPC_RING_REC_MAX);
        assert_true(ipc_consumer_lag(&cons) <= SIZE);
    }
    assert_true(cons.garbage > 1000);
    uint64_t head = cons.tail;
    memcpy(base, &head, 8);
    ipc_producer_init(&prod, rings, 1, wake);
    assert_int_equal(ipc_produce(&prod, "honest", 6), SK_OK);
    assert_int_equal(ipc_consume(&cons, got, sizeof(got), &len), SK_OK);
    assert_memory_equal(got, "honest", 6);
    munmap(map, 2 * (IPC_RING_HEADER + SIZE));
}

static void a_hostile_consumer_cannot_hurt_the_producer(void **state)
{
    (void)state;
    uint8_t *map = (uint8_t *)mmap(NULL, 2 * (IPC_RING_HEADER + SIZE), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    uint64_t tail = 12345678;
    memcpy(map + IPC_RING_HEADER + SIZE + 64, &tail, 8);
    assert_int_equal(ipc_produce(&prod, "x", 1), SK_EFULL);
    munmap(map, 2 * (IPC_RING_HEADER + SIZE));
}

static void produce_all(uint32_t total)
{
    for (uint32_t i = 0; i < total;) {
        memcpy(rec, &i, 4);
        if (ipc_produce(&prod, rec, 4 + i % 200) == SK_OK)
            i++;
        else
            usleep(100);
        ipc_producer_wake(&prod);
    }
}

static void two_processes_lose_nothing_and_always_wake(void **state)
{
    (void)state;
    const uint32_t total = 200000;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        produce_all(total);
        _exit(0);
    }
    for (uint32_t next = 0; next < total;) {
        uint32_t len, i;
        int rc = ipc_consume(&cons, got, sizeof(got), &len);
        if (rc == SK_OK) {
            memcpy(&i, got, 4);
            assert_int_equal(i, next);
            next++;
            continue;
        }
        assert_int_equal(rc, SK_EAGAIN);
        if (ipc_consumer_sleep(&cons))
            continue;
        struct pollfd p = {.fd = wake, .events = POLLIN};
        int n;
        do {
            n = poll(&p, 1, 5000);
        } while (n < 0 && errno == EINTR);
        assert_int_equal(n, 1); /* a lost wake-up would time out */
        uint64_t v;
        assert_int_equal(read(wake, &v, 8), 8);
    }
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_int_equal(st, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_keep_order_and_content_over_many_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_ring_drops_the_new_record_and_keeps_the_old, setup, teardown),
        cmocka_unit_test_setup_teardown(one_wake_up_a_sleep, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_producer_goes_on_behind_a_dead_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hostile_producer_loses_only_its_own_events, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hostile_consumer_cannot_hurt_the_producer, setup, teardown),
        cmocka_unit_test_setup_teardown(two_processes_lose_nothing_and_always_wake, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
