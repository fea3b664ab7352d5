/* The set of blocked clients: exact, bounded, not writable by readers, and never torn while it changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "ipc/blocked.h"

#define NOW  (INT64_C(1800000000) * SK_NS_PER_S)
#define LATE INT64_MAX

struct rig {
    int fd;
    struct ipc_blocked_writer *w;
    struct ipc_blocked *b;
};

static int setup_of(void **state, uint32_t slots)
{
    struct rig *r = calloc(1, sizeof *r);
    *state = r;
    return ipc_blocked_create(slots, &r->fd, &r->w) == SK_OK && ipc_blocked_map(r->fd, &r->b) == SK_OK ? 0 : -1;
}

static int setup(void **state)
{
    return setup_of(state, IPC_BLOCKED_SLOTS);
}

#define MIDDLE (1u << 12)

static int setup_middle(void **state)
{
    return setup_of(state, MIDDLE);
}

static int setup_small(void **state)
{
    return setup_of(state, IPC_BLOCKED_MIN);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    ipc_blocked_unmap(r->b);
    ipc_blocked_free(r->w);
    close(r->fd);
    free(r);
    return 0;
}

static struct sk_prefix pfx(const char *s)
{
    struct sk_prefix p;
    assert_int_equal(sk_prefix_parse(s, strlen(s), false, &p), SK_OK);
    return p;
}

static struct sk_prefix host(uint32_t i)
{
    uint8_t b[4] = {(uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
    struct sk_addr a = sk_addr_from_v4(b);
    return sk_prefix_make(&a, 128);
}

static void put(struct rig *r, const char *s, int64_t expires)
{
    struct sk_prefix p = pfx(s);
    assert_int_equal(ipc_blocked_put(r->w, &p, expires), SK_OK);
}

static void take_out(struct rig *r, const char *s)
{
    struct sk_prefix p = pfx(s);
    ipc_blocked_remove(r->w, &p);
}

static bool has(struct rig *r, const char *s, int64_t now)
{
    struct sk_prefix p = pfx(s);
    return ipc_blocked_has(r->b, &p.addr, now);
}

static void test_an_address_is_blocked_until_its_end(void **state)
{
    struct rig *r = *state;
    assert_false(has(r, "192.0.2.7", NOW));
    put(r, "192.0.2.7", NOW + 10);
    put(r, "2001:db8::7", NOW + 20);
    assert_true(has(r, "192.0.2.7", NOW) && has(r, "2001:db8::7", NOW));
    assert_false(has(r, "192.0.2.8", NOW) || has(r, "2001:db8::8", NOW));
    assert_true(has(r, "192.0.2.7", NOW + 9));
    assert_false(has(r, "192.0.2.7", NOW + 10));
    put(r, "192.0.2.7", NOW + 30);
    assert_true(has(r, "192.0.2.7", NOW + 29));
    assert_int_equal(ipc_blocked_count(r->w), 2);
    take_out(r, "192.0.2.7");
    take_out(r, "192.0.2.9"); /* never was there */
    assert_false(has(r, "192.0.2.7", NOW));
    assert_true(has(r, "2001:db8::7", NOW));
    assert_int_equal(ipc_blocked_count(r->w), 1);
}

static void test_every_length_in_use_is_tried(void **state)
{
    struct rig *r = *state;
    put(r, "198.51.100.0/24", LATE);
    put(r, "198.51.100.77", NOW - 1); /* over; the network is not */
    put(r, "203.0.113.128/25", LATE);
    put(r, "2001:db8::/32", LATE);
    put(r, "2001:db8:1:2::/64", LATE);
    assert_true(has(r, "198.51.100.77", NOW) && has(r, "198.51.100.0", NOW) && has(r, "198.51.100.255", NOW));
    assert_false(has(r, "198.51.101.0", NOW) || has(r, "203.0.113.127", NOW));
    assert_true(has(r, "203.0.113.128", NOW));
    assert_true(has(r, "2001:db8:ffff::1", NOW));
    take_out(r, "2001:db8::/32");
    assert_false(has(r, "2001:db8:ffff::1", NOW));
    assert_true(has(r, "2001:db8:1:2::99", NOW));
    take_out(r, "198.51.100.0/24");
    assert_false(has(r, "198.51.100.1", NOW));
    assert_true(has(r, "203.0.113.200", NOW));
    struct sk_prefix all = {.len = 0};
    assert_int_equal(ipc_blocked_put(r->w, &all, LATE), SK_OK); /* shortest and longest length there are */
    assert_true(has(r, "192.0.2.1", NOW) && has(r, "::1", NOW));
    ipc_blocked_clear(r->w);
    assert_false(has(r, "192.0.2.1", NOW) || has(r, "203.0.113.200", NOW) || has(r, "2001:db8:1:2::99", NOW));
    assert_int_equal(ipc_blocked_count(r->w), 0);
}

/* Against an array: everything that is in, and nothing else, over many turns in a table that is nearly full. */
static void test_it_agrees_with_a_plain_list(void **state)
{
    struct rig *r = *state;
    static bool in[96];
    uint32_t seed = 12345, n = 0;
    memset(in, 0, sizeof in);
    for (int turn = 0; turn < 4000; turn++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t i = (seed >> 16) % 96;
        struct sk_prefix p = host(0x0a000000 + i);
        if (in[i] || n == IPC_BLOCKED_MIN / 4 * 3) {
            ipc_blocked_remove(r->w, &p);
            n -= in[i];
            in[i] = false;
        } else {
            assert_int_equal(ipc_blocked_put(r->w, &p, LATE), SK_OK);
            in[i] = true;
            n++;
        }
        assert_int_equal(ipc_blocked_count(r->w), n);
        for (uint32_t k = turn % 8; k < 96; k += 8) {
            p = host(0x0a000000 + k);
            assert_int_equal(ipc_blocked_has(r->b, &p.addr, NOW), in[k]);
        }
    }
    assert_int_equal(ipc_blocked_refused(r->w), 0);
}

static void test_a_full_set_takes_no_more_and_counts(void **state)
{
    struct rig *r = *state;
    uint32_t most = MIDDLE / 4 * 3, entered = 0;
    struct sk_prefix p;
    for (uint32_t i = 0; i < most + 50; i++) {
        p = host(0x0a000000 + i);
        entered += ipc_blocked_put(r->w, &p, LATE) == SK_OK;
    }
    assert_int_equal(ipc_blocked_count(r->w), entered);
    assert_int_equal(ipc_blocked_refused(r->w), most + 50 - entered);
    assert_true(entered <= most && entered > most - 50); /* a search that is too long comes before that, rarely */
    p = host(0x0a000000);
    assert_int_equal(ipc_blocked_put(r->w, &p, NOW + 1), SK_OK); /* one that is there may change */
    assert_true(ipc_blocked_has(r->b, &p.addr, NOW));
    assert_false(ipc_blocked_has(r->b, &p.addr, NOW + 1));
    ipc_blocked_remove(r->w, &p);
    struct sk_prefix other = host(0xc0000201);
    assert_int_equal(ipc_blocked_put(r->w, &other, LATE), SK_OK);
    for (uint32_t i = 0; i < most + 50; i++) {
        p = host(0x0a000000 + i);
        ipc_blocked_remove(r->w, &p);
    }
    assert_int_equal(ipc_blocked_count(r->w), 1);
    assert_true(ipc_blocked_has(r->b, &other.addr, NOW));
}

static void test_a_reader_can_not_write(void **state)
{
    struct rig *r = *state;
    struct stat st;
    assert_int_equal(fstat(r->fd, &st), 0);
    size_t size = (size_t)st.st_size;
    assert_true(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0) == MAP_FAILED);
    void *m = mmap(NULL, size, PROT_READ, MAP_SHARED, r->fd, 0);
    assert_true(m != MAP_FAILED);
    assert_int_equal(mprotect(m, size, PROT_READ | PROT_WRITE), -1);
    munmap(m, size);
    assert_int_equal(pwrite(r->fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(r->fd, 0), -1);
    assert_int_equal(fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    char path[64]; /* nor by a descriptor of its own */
    snprintf(path, sizeof path, "/proc/self/fd/%d", r->fd);
    int again = open(path, O_RDWR | O_CLOEXEC);
    if (again >= 0) {
        assert_true(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED);
        assert_int_equal(pwrite(again, "x", 1, 0), -1);
        close(again);
    }
    put(r, "192.0.2.7", LATE); /* the writer can */
    assert_true(has(r, "192.0.2.7", NOW));
}

static void test_other_memory_is_refused(void **state)
{
    (void)state;
    struct ipc_blocked *b;
    struct ipc_blocked_writer *w;
    int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, 4096 + 64 * 32), 0);
    assert_int_equal(ipc_blocked_map(fd, &b), SK_EPROTO); /* could shrink */
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(ipc_blocked_map(fd, &b), SK_OK);
    ipc_blocked_unmap(b);
    assert_int_equal(ftruncate(fd, 4096 + 65 * 32), 0);
    assert_int_equal(ipc_blocked_map(fd, &b), SK_EPROTO); /* no power of two */
    assert_int_equal(ftruncate(fd, 4096 + 128 * 32 + 1), 0);
    assert_int_equal(ipc_blocked_map(fd, &b), SK_EPROTO);
    close(fd);
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(ipc_blocked_map(pipes[0], &b), SK_EPROTO);
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(ipc_blocked_create(0, &fd, &w), SK_EINVAL);
    assert_int_equal(ipc_blocked_create(100, &fd, &w), SK_EINVAL);
    assert_int_equal(ipc_blocked_create(2 * IPC_BLOCKED_MAX, &fd, &w), SK_EINVAL);
    ipc_blocked_unmap(NULL);
    ipc_blocked_free(NULL);
}

/* Whatever the memory holds, a look-up ends and faults nowhere. */
static void test_garbage_does_no_harm(void **state)
{
    (void)state;
    struct ipc_blocked *b;
    uint8_t noise[4096 + 64 * 32];
    for (unsigned round = 0; round < 4; round++) {
        int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = round == 0 ? 0xff : (uint8_t)rand();
        assert_int_equal(write(fd, noise, sizeof noise), sizeof noise);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        assert_int_equal(ipc_blocked_map(fd, &b), SK_OK);
        for (uint32_t i = 0; i < 3; i++) {
            struct sk_prefix p = host(i * 2654435761u);
            (void)ipc_blocked_has(b, &p.addr, NOW);
        }
        ipc_blocked_unmap(b);
        close(fd);
    }
}

/* One slot as it lies in the memory. */
struct raw_slot {
    uint32_t seq, what;
    uint64_t a0, a1;
    int64_t expires;
};

/* A memory whose every slot holds a, as a writer leaves it (even) or who was stopped in the middle (odd). */
static bool found_with_seq(const struct sk_addr *a, uint32_t seq)
{
    uint8_t head[4096] = {0};
    struct raw_slot slot = {seq, 2 + 128, a->q[0], a->q[1], LATE};
    const uint64_t lengths[3] = {0, 0, 1};
    struct ipc_blocked *b;
    int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    memcpy(head + sizeof(struct sk_hash_key), lengths, sizeof lengths);
    assert_int_equal(write(fd, head, sizeof head), sizeof head);
    for (int i = 0; i < 64; i++)
        assert_int_equal(write(fd, &slot, sizeof slot), sizeof slot);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(ipc_blocked_map(fd, &b), SK_OK);
    bool found = ipc_blocked_has(b, a, NOW);
    ipc_blocked_unmap(b);
    close(fd);
    return found;
}

static void test_a_slot_that_is_being_changed_is_not_taken_nor_waited_for(void **state)
{
    (void)state;
    struct sk_prefix p = pfx("192.0.2.7");
    assert_true(found_with_seq(&p.addr, 0) && found_with_seq(&p.addr, 2) && found_with_seq(&p.addr, UINT32_MAX - 1));
    assert_false(found_with_seq(&p.addr, 1) || found_with_seq(&p.addr, UINT32_MAX));
}

/*
 * Threads. "Steady" addresses are always in and must always be found. "Over" has an end that is past, "live" one that
 * is to come, and both fall onto one place, where they take turns: a torn slot would show "over" with the end of
 * "live".
 */
#define STEADY 8
#define TURNS  100000

struct reader {
    const struct ipc_blocked *b;
    pthread_t thread;
    _Atomic bool *stop;
    struct sk_addr over;
    uint64_t rounds, lost, torn;
};

static void *read_on(void *arg)
{
    struct reader *t = arg;
    while (!atomic_load(t->stop)) {
        for (int i = 0; i < 200; i++)
            t->torn += ipc_blocked_has(t->b, &t->over, NOW);
        for (uint32_t i = 0; i < STEADY; i++) {
            struct sk_prefix steady = host(0x01000000 + i);
            t->lost += !ipc_blocked_has(t->b, &steady.addr, NOW);
        }
        t->rounds++;
    }
    return NULL;
}

/* The next host whose place is that one. */
static struct sk_prefix falls_onto(const struct sk_hash_key *key, uint32_t place, uint32_t *i)
{
    for (;;) {
        struct sk_prefix p = host((*i)++);
        const uint64_t w[3] = {p.addr.q[0], p.addr.q[1], p.len};
        if (((uint32_t)sk_siphash_words(key, w, 3) & (IPC_BLOCKED_MIN - 1)) == place)
            return p;
    }
}

static void test_readers_see_no_torn_entry(void **state)
{
    struct rig *r = *state;
    struct reader t[3] = {{0}};
    _Atomic bool stop = false;
    struct sk_hash_key key;
    uint32_t next = 0x02000000;
    assert_int_equal(pread(r->fd, &key, sizeof key, 0), sizeof key);
    struct sk_prefix over = falls_onto(&key, 17, &next), live = falls_onto(&key, 17, &next),
                     net = pfx("198.51.100.0/24");
    for (uint32_t i = 0; i < STEADY; i++) {
        struct sk_prefix p = host(0x01000000 + i);
        assert_int_equal(ipc_blocked_put(r->w, &p, LATE), SK_OK);
    }
    for (int i = 0; i < 3; i++) {
        t[i] = (struct reader){.b = r->b, .stop = &stop, .over = over.addr};
        assert_int_equal(pthread_create(&t[i].thread, NULL, read_on, &t[i]), 0);
    }
    for (uint32_t i = 0; i < TURNS; i++) {
        assert_int_equal(ipc_blocked_put(r->w, &over, NOW - 1), SK_OK);
        ipc_blocked_remove(r->w, &over);
        assert_int_equal(ipc_blocked_put(r->w, &live, LATE), SK_OK);
        ipc_blocked_remove(r->w, &live);
        if (i % 16 == 0) { /* a length comes and goes */
            assert_int_equal(ipc_blocked_put(r->w, &net, LATE), SK_OK);
            ipc_blocked_remove(r->w, &net);
        }
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i].thread, NULL);
        print_message("reader %d: %lu rounds, %lu torn, %lu lost\n", i, t[i].rounds, t[i].torn, t[i].lost);
        assert_int_equal(t[i].torn, 0);
        assert_int_equal(t[i].lost, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f, s) cmocka_unit_test_setup_teardown(f, s, teardown)
        TEST(test_an_address_is_blocked_until_its_end, setup),
        TEST(test_every_length_in_use_is_tried, setup),
        TEST(test_it_agrees_with_a_plain_list, setup_small),
        TEST(test_a_full_set_takes_no_more_and_counts, setup_middle),
        TEST(test_a_reader_can_not_write, setup),
        cmocka_unit_test(test_other_memory_is_refused),
        cmocka_unit_test(test_garbage_does_no_harm),
        cmocka_unit_test(test_a_slot_that_is_being_changed_is_not_taken_nor_waited_for),
        TEST(test_readers_see_no_torn_entry, setup_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
