/* The EVE file: whole lines, also over a full disk and a rotation. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "report/eve.h"

static char dir[] = "/tmp/sekisho-eve-XXXXXX", path[64], moved[64];
static struct eve_writer *w;
static _Alignas(8) uint8_t rec[EVENT_MAX];

static int make_dir(void **state)
{
    (void)state;
    sk_log_setup("test", SK_LOG_ERROR, 0);
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static int setup(void **state)
{
    (void)state;
    int fd;
    snprintf(path, sizeof(path), "%s/eve.json", dir);
    snprintf(moved, sizeof(moved), "%s/eve.json.1", dir);
    if (eve_open_file(path, true, &fd) != SK_OK)
        return -1;
    return eve_create(fd, path, false, false, &w);
}

static int teardown(void **state)
{
    (void)state;
    eve_free(w);
    unlink(path);
    unlink(moved);
    return 0;
}

static uint32_t event(uint64_t flow_id)
{
    struct event_builder b;
    struct event_rec *r = event_begin(&b, rec, sizeof(rec), EVENT_HTTP);
    r->flow_id = flow_id;
    r->has = EVENT_HAS_HTTP | EVENT_HAS_IFACE;
    r->iface = 2;
    event_add_str(&b, EVENT_I_HTTP_URL, "/a");
    return event_end(&b);
}

/* Every line parses and flow ids count up from `first`; returns how many lines. */
static unsigned lines(const char *file, uint64_t first)
{
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    char line[4096];
    unsigned n = 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        json_t *j = json_loads(line, 0, NULL);
        assert_non_null(j);
        assert_int_equal(json_integer_value(json_object_get(j, "flow_id")), first + n);
        json_decref(j);
        n++;
    }
    fclose(f);
    return n;
}

static void each_event_is_a_line(void **state)
{
    (void)state;
    eve_set_iface(w, 2, "eth2");
    for (uint64_t i = 1; i <= 5000; i++)
        assert_int_equal(eve_write(w, rec, event(i)), SK_OK);
    assert_int_equal(eve_flush(w), SK_OK);
    assert_int_equal(lines(path, 1), 5000);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(eve_stats(w)->bytes, st.st_size);
    assert_int_equal(st.st_mode & 0777, 0640 & ~umask(022));
    char line[512];
    FILE *f = fopen(path, "r");
    assert_non_null(fgets(line, sizeof(line), f));
    assert_non_null(strstr(line, "\"in_iface\":\"eth2\""));
    fclose(f);
}

static void garbage_is_counted_and_leaves_no_trace(void **state)
{
    (void)state;
    uint32_t len = event(1);
    rec[0]++;
    assert_int_equal(eve_write(w, rec, len), SK_EPROTO);
    assert_int_equal(eve_write(w, rec, event(1)), SK_OK);
    assert_int_equal(eve_flush(w), SK_OK);
    assert_int_equal(lines(path, 1), 1);
    assert_int_equal(eve_stats(w)->invalid, 1);
}

static void a_rotated_file_is_noticed_and_left(void **state)
{
    (void)state;
    int fd = open(path, O_RDONLY);
    assert_int_equal(eve_write(w, rec, event(1)), SK_OK);
    assert_false(eve_file_moved(fd, path));
    assert_int_equal(rename(path, moved), 0);
    assert_true(eve_file_moved(fd, path));
    int next;
    assert_int_equal(eve_open_file(path, false, &next), SK_OK);
    eve_reopen(w, next);
    assert_int_equal(eve_write(w, rec, event(2)), SK_OK);
    assert_int_equal(eve_flush(w), SK_OK);
    assert_int_equal(lines(moved, 1), 1);
    assert_int_equal(lines(path, 2), 1);
    close(fd);
}

static void a_full_disk_loses_only_what_the_buffer_cannot_hold(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY), fd;
    assert_true(full >= 0);
    eve_reopen(w, full);
    uint64_t sent = 0;
    while (eve_stats(w)->write_errors < 100)
        (void)!eve_write(w, rec, event(++sent));
    assert_int_equal(eve_flush(w), SK_EIO);
    assert_true(eve_stats(w)->held > EVE_BUFFER_MAX / 2);
    assert_int_equal(eve_open_file(path, false, &fd), SK_OK);
    eve_reopen(w, fd);
    assert_int_equal(eve_flush(w), SK_OK);
    assert_int_equal(eve_stats(w)->held, 0);
    assert_int_equal(lines(path, 1), sent - 100);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > EVE_BUFFER_MAX / 2 && st.st_size <= EVE_BUFFER_MAX);
}

static void a_link_in_the_files_place_is_refused(void **state)
{
    (void)state;
    int fd;
    assert_int_equal(symlink("/etc/passwd", moved), 0);
    assert_int_equal(eve_open_file(moved, false, &fd), SK_EIO);
    assert_int_equal(eve_open_file("/nonexistent/eve.json", false, &fd), SK_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_event_is_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_counted_and_leaves_no_trace, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rotated_file_is_noticed_and_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_loses_only_what_the_buffer_cannot_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_in_the_files_place_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
