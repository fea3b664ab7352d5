/* Capture files: formats, ends, and what a user is told about a bad one. And the fake source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "capture/capture.h"

static char dir[] = "/tmp/sk-capture-XXXXXX";
static char path[512];
static uint8_t file[1 << 16];
static size_t file_len;
static char err[256];
static struct capture_batch batch;

static void put(const void *p, size_t n)
{
    assert_true(n <= sizeof file - file_len);
    memcpy(file + file_len, p, n);
    file_len += n;
}

static void put32(uint32_t v)
{
    put(&v, 4);
}

/* magic 0xa1b2c3d4: microseconds, 0xa1b23c4d: nanoseconds. */
static void pcap_header(uint32_t magic, uint32_t linktype)
{
    static const uint16_t version[2] = {2, 4};
    file_len = 0;
    put32(magic);
    put(version, 4);
    put32(0);
    put32(0);
    put32(262144);
    put32(linktype);
}

static void pcap_record(uint32_t sec, uint32_t frac, const char *data, uint32_t wirelen)
{
    put32(sec);
    put32(frac);
    put32((uint32_t)strlen(data));
    put32(wirelen);
    put(data, strlen(data));
}

static void save(const char *name, size_t len)
{
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(file, 1, len, f), len);
    fclose(f);
}

static struct capture *open_ok(void)
{
    struct capture *c = NULL;
    if (capture_open_file(path, &c, err) != SK_OK)
        fail_msg("%s", err);
    return c;
}

static void test_microseconds_and_order(void **state)
{
    (void)state;
    pcap_header(0xa1b2c3d4, 1);
    pcap_record(1000, 7, "first", 5);
    pcap_record(1001, 999999, "second, cut", 100);
    save("us.pcap", file_len);
    struct capture *c = open_ok();
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.n, 2);
    assert_int_equal(batch.f[0].ts, 1000000007000LL);
    assert_int_equal(batch.f[0].number, 1);
    assert_int_equal(batch.f[0].linktype, 1);
    assert_memory_equal(batch.f[0].data, "first", 5);
    assert_int_equal(batch.f[1].ts, 1001999999000LL);
    assert_int_equal(batch.f[1].caplen, 11);
    assert_int_equal(batch.f[1].wirelen, 100);
    assert_int_equal(batch.f[1].number, 2);
    capture_release(c, &batch);
    assert_int_equal(capture_recv(c, &batch, 0), SK_EEND);
    assert_int_equal(capture_recv(c, &batch, 0), SK_EEND);
    capture_close(c);
}

static void test_nanoseconds(void **state)
{
    (void)state;
    pcap_header(0xa1b23c4d, 101);
    pcap_record(5, 123456789, "x", 1);
    save("ns.pcap", file_len);
    struct capture *c = open_ok();
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.f[0].ts, 5123456789LL);
    capture_close(c);
}

static void test_foreign_byte_order(void **state)
{
    (void)state;
    pcap_header(0xa1b2c3d4, 1);
    pcap_record(9, 1, "", 0);
    for (size_t i = 0; i < file_len; i += 4) {
        uint8_t *w = file + i, t;
        if (i == 4) { /* two versions of 16 bits */
            t = w[0], w[0] = w[1], w[1] = t;
            t = w[2], w[2] = w[3], w[3] = t;
            continue;
        }
        t = w[0], w[0] = w[3], w[3] = t;
        t = w[1], w[1] = w[2], w[2] = t;
    }
    save("be.pcap", file_len);
    struct capture *c = open_ok();
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.f[0].ts, 9000001000LL);
    assert_int_equal(batch.f[0].caplen, 0);
    capture_close(c);
}

static void test_empty_capture_is_fine(void **state)
{
    (void)state;
    pcap_header(0xa1b2c3d4, 1);
    save("empty.pcap", file_len);
    struct capture *c = open_ok();
    assert_int_equal(capture_recv(c, &batch, 0), SK_EEND);
    assert_int_equal(batch.n, 0);
    capture_close(c);
}

/* Wherever the file is cut, every whole packet comes first, and then the name and the place of the cut. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    pcap_header(0xa1b2c3d4, 1);
    pcap_record(1, 0, "one", 3);
    size_t one = file_len;
    pcap_record(2, 0, "two two", 7);
    size_t two = file_len;
    for (size_t len = 24; len < two; len++) {
        save("cut.pcap", len);
        struct capture *c = open_ok();
        if (len >= one) {
            assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
            assert_int_equal(batch.n, 1);
            capture_release(c, &batch);
        }
        int rc = capture_recv(c, &batch, 0);
        assert_int_equal(rc, len == 24 || len == one ? SK_EEND : SK_ETRUNC);
        if (rc == SK_ETRUNC) {
            assert_non_null(strstr(capture_error(c), "cut.pcap"));
            assert_non_null(strstr(capture_error(c), len >= one ? "cut after packet 1" : "cut after packet 0"));
        }
        capture_close(c);
    }
}

static void expect_refused(int want, const char *why)
{
    struct capture *c = NULL;
    err[0] = '\0';
    assert_int_equal(capture_open_file(path, &c, err), want);
    assert_null(c);
    if (!strstr(err, why))
        fail_msg("\"%s\" does not say \"%s\"", err, why);
}

static void test_refused(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/none.pcap", dir);
    expect_refused(SK_ENOENT, "none.pcap: No such file");
    snprintf(path, sizeof path, "%s", dir);
    expect_refused(SK_EINVAL, "is a directory");
    file_len = 0;
    put("this is a text file, not a capture", 34);
    save("text.pcap", file_len);
    expect_refused(SK_EINVAL, "text.pcap: not a capture file");
    save("nothing.pcap", 0);
    expect_refused(SK_EINVAL, "nothing.pcap: not a capture file");
    pcap_header(0xa1b2c3d4, 1);
    save("short.pcap", 10);
    expect_refused(SK_EINVAL, "short.pcap: not a capture file");
    pcap_header(0xa1b2c3d4, 147);
    save("user0.pcap", file_len);
    expect_refused(SK_ENOTSUP, "link type 147");
}

static void test_long_name_leaves_room_for_the_reason(void **state)
{
    (void)state;
    memset(path, 'd', 400);
    strcpy(path + 400, "/none.pcap");
    expect_refused(SK_EIO, "/none.pcap: File name too long");
    memset(path, 'd', 90);
    path[90] = '/';
    memset(path + 91, 'e', 150);
    strcpy(path + 241, "/none.pcap");
    expect_refused(SK_ENOENT, "/none.pcap: No such file");
}

static void test_damaged(void **state)
{
    (void)state;
    pcap_header(0xa1b2c3d4, 1);
    pcap_record(1, 0, "one", 3);
    put32(1);
    put32(1);
    put32(0x7fffffff);
    put32(0x7fffffff);
    put("junk junk junk junk", 19);
    save("bad.pcap", file_len);
    struct capture *c = open_ok();
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.n, 1);
    capture_release(c, &batch);
    assert_int_equal(capture_recv(c, &batch, 0), SK_EINVAL);
    assert_non_null(strstr(capture_error(c), "bad.pcap: cannot be read past packet 1"));
    assert_int_equal(capture_recv(c, &batch, 0), SK_EINVAL);
    capture_close(c);
}

/* --- pcapng --- */

static void ng_block(uint32_t type, const void *body, uint32_t len)
{
    uint32_t padded = (len + 3U) & ~3U;
    static const uint8_t zero[4];
    put32(type);
    put32(padded + 12);
    put(body, len);
    put(zero, padded - len);
    put32(padded + 12);
}

static void ng_start(void)
{
    static const uint32_t shb[4] = {0x1a2b3c4d, 1, 0xffffffff, 0xffffffff};
    file_len = 0;
    ng_block(0x0a0d0d0a, shb, sizeof shb);
}

static void ng_interface(uint16_t linktype)
{
    uint8_t idb[8] = {(uint8_t)linktype, (uint8_t)(linktype >> 8), 0, 0, 0, 0, 4, 0};
    ng_block(1, idb, sizeof idb);
}

static void ng_packet(uint32_t iface, uint32_t us, const char *data)
{
    uint32_t n = (uint32_t)strlen(data);
    uint32_t epb[5 + 8] = {iface, 0, us, n, n};
    memcpy(epb + 5, data, n);
    ng_block(6, epb, 20 + n);
}

static void test_pcapng(void **state)
{
    (void)state;
    ng_start();
    ng_interface(1);
    ng_packet(0, 5, "first");
    ng_interface(1);
    ng_packet(1, 6, "other interface");
    save("two.pcapng", file_len);
    struct capture *c = open_ok();
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.n, 2);
    assert_int_equal(batch.f[0].ts, 5000);
    assert_memory_equal(batch.f[1].data, "other interface", 15);
    capture_release(c, &batch);
    assert_int_equal(capture_recv(c, &batch, 0), SK_EEND);
    capture_close(c);
}

static void test_pcapng_of_mixed_link_types(void **state)
{
    (void)state;
    ng_start();
    ng_interface(1);
    ng_packet(0, 5, "ethernet");
    ng_interface(101);
    ng_packet(1, 6, "raw");
    save("mixed.pcapng", file_len);
    struct capture *c = open_ok();
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.n, 1);
    capture_release(c, &batch);
    assert_int_equal(capture_recv(c, &batch, 0), SK_EINVAL);
    assert_non_null(strstr(capture_error(c), "mixed.pcapng"));
    assert_non_null(strstr(capture_error(c), "different"));
    capture_close(c);
}

static void test_pcapng_cut(void **state)
{
    (void)state;
    ng_start();
    ng_interface(1);
    ng_packet(0, 5, "first");
    ng_packet(0, 6, "second");
    save("cut.pcapng", file_len - 6);
    struct capture *c = open_ok();
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.n, 1);
    capture_release(c, &batch);
    assert_int_equal(capture_recv(c, &batch, 0), SK_ETRUNC);
    capture_close(c);
}

/* --- batches --- */

/* n records of len bytes, each filled with its number, written straight to disk. */
static void big_file(uint32_t n, uint32_t len)
{
    pcap_header(0xa1b2c3d4, 1);
    save("big.pcap", file_len);
    FILE *f = fopen(path, "ab");
    uint8_t *data = malloc(len);
    assert_true(f && data);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t h[4] = {i, 0, len, len};
        memset(data, (int)(i & 0xff), len);
        assert_int_equal(fwrite(h, 1, sizeof h, f) + fwrite(data, 1, len, f), sizeof h + len);
    }
    fclose(f);
    free(data);
}

static void read_big_file(uint32_t n, uint32_t len)
{
    struct capture *c = open_ok();
    uint64_t seen = 0, done, size;
    int rc;
    while ((rc = capture_recv(c, &batch, 0)) == SK_OK) {
        assert_in_range(batch.n, 1, CAPTURE_BATCH);
        for (unsigned i = 0; i < batch.n; i++, seen++) {
            assert_int_equal(batch.f[i].number, seen + 1);
            assert_int_equal(batch.f[i].caplen, len);
            assert_int_equal(batch.f[i].data[0], seen & 0xff);
            assert_int_equal(batch.f[i].data[len - 1], seen & 0xff);
        }
        capture_file_progress(c, &done, &size);
        assert_true(done > 0 && done <= size);
        capture_release(c, &batch);
    }
    assert_int_equal(rc, SK_EEND);
    assert_int_equal(seen, n);
    capture_file_progress(c, &done, &size);
    assert_int_equal(done, size);
    capture_close(c);
}

/* Frames of the longest kind do not fit in one batch's memory together; none is lost at the seam. */
static void test_batches(void **state)
{
    (void)state;
    big_file(1000, 60);
    read_big_file(1000, 60);
    big_file(70, SK_MAX_FRAME);
    read_big_file(70, SK_MAX_FRAME);
    big_file(130, 65549);
    read_big_file(130, 65549);
}

/* --- pipes --- */

static void feed(int fd)
{
    if (fork() == 0) {
        ssize_t n = write(fd, file, file_len);
        _exit(n == (ssize_t)file_len ? 0 : 1);
    }
    close(fd);
}

static void expect_one_packet_without_size(void)
{
    struct capture *c = open_ok();
    uint64_t done, size;
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_memory_equal(batch.f[0].data, "piped", 5);
    capture_release(c, &batch);
    assert_int_equal(capture_recv(c, &batch, 0), SK_EEND);
    capture_file_progress(c, &done, &size);
    assert_int_equal(size, 0);
    capture_close(c);
    wait(NULL);
}

static void test_standard_input(void **state)
{
    (void)state;
    int fds[2], saved = dup(0);
    pcap_header(0xa1b2c3d4, 1);
    pcap_record(1, 0, "piped", 5);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(dup2(fds[0], 0), 0);
    close(fds[0]);
    feed(fds[1]);
    strcpy(path, "-");
    expect_one_packet_without_size();
    assert_int_not_equal(fcntl(0, F_GETFD), -1); /* ours to close, not the source's */
    dup2(saved, 0);
    close(saved);
}

static void test_fifo(void **state)
{
    (void)state;
    pcap_header(0xa1b2c3d4, 1);
    pcap_record(1, 0, "piped", 5);
    snprintf(path, sizeof path, "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    if (fork() == 0) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        ssize_t n = write(fd, file, file_len);
        _exit(n == (ssize_t)file_len ? 0 : 1);
    }
    expect_one_packet_without_size();
}

/* --- the fake --- */

static void test_fake(void **state)
{
    (void)state;
    struct capture *c = capture_open_fake(101);
    assert_non_null(c);
    assert_int_equal(capture_recv(c, &batch, 0), SK_EEND);
    for (unsigned i = 0; i < CAPTURE_BATCH + 1; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(capture_fake_push(c, &byte, 1, (int64_t)i * 10), SK_OK);
    }
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.n, CAPTURE_BATCH);
    assert_int_equal(batch.f[3].data[0], 3);
    assert_int_equal(batch.f[3].ts, 30);
    assert_int_equal(batch.f[3].number, 4);
    assert_int_equal(batch.f[3].linktype, 101);
    capture_release(c, &batch);
    assert_int_equal(batch.n, 0);
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.n, 1);
    capture_release(c, &batch);
    assert_int_equal(capture_fake_push(c, "", 0, 1), SK_OK);
    assert_int_equal(capture_recv(c, &batch, 0), SK_OK);
    assert_int_equal(batch.f[0].caplen, 0);
    capture_close(c); /* with a frame still lent */
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const names[] = {"us.pcap",    "ns.pcap",      "be.pcap",    "empty.pcap", "cut.pcap",
                                        "text.pcap",  "nothing.pcap", "short.pcap", "user0.pcap", "bad.pcap",
                                        "two.pcapng", "mixed.pcapng", "cut.pcapng", "big.pcap",   "fifo"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_microseconds_and_order),
        cmocka_unit_test(test_nanoseconds),
        cmocka_unit_test(test_foreign_byte_order),
        cmocka_unit_test(test_empty_capture_is_fine),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_name_leaves_room_for_the_reason),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_pcapng),
        cmocka_unit_test(test_pcapng_of_mixed_link_types),
        cmocka_unit_test(test_pcapng_cut),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_fifo),
        cmocka_unit_test(test_fake),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
