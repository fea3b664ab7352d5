/*
 * The repository's captures through one worker, and shared by four: the same events, each record valid, and the same
 * ledger.
 */
#include "engine_case.h"
#include <dirent.h>
#include <stdio.h>
#include "capture/capture.h"

static const char rules[] = "alert tcp any any -> any any (flags:S; sid:1;)\n"
                            "alert ip any any -> any any (sid:2;)\n"
                            "alert http any any -> any any (http.uri; content:\"/\"; sid:3;)\n"
                            "alert http any any -> any any (http.stat_code; content:\"200\"; sid:4;)\n"
                            "alert tcp any any -> any any (flow:to_client; content:\"HTTP/1.\"; sid:5;)\n"
                            "alert udp any any -> any any (dsize:>0; sid:6;)\n"
                            "alert http any any -> any any (file.data; content:\"e\"; sid:7;)\n";

struct totals {
    uint64_t events[EVENT_TYPE_COUNT], alerts, packets;
    uint64_t ledger[SK_LP_LAST - SK_LP_FIRST + 1]; /* of packets: a full flow table depends on how many there are */
};

static void read_through(struct ecase *k, const char *path, struct engine_worker *w)
{
    char err[256];
    struct capture *cap;
    static struct capture_batch b;
    assert_int_equal(capture_open_file(path, &cap, err), SK_OK);
    while (capture_recv(cap, &b, 0) == SK_OK) {
        for (unsigned i = 0; i < b.n; i++) {
            engine_packet(w, &b.f[i]);
            k->now = b.f[i].ts;
        }
        engine_worker_idle(w, k->now);
        capture_release(cap, &b);
    }
    capture_close(cap);
    engine_worker_finish(w);
}

static struct totals run(const char *path, unsigned shares)
{
    struct totals t = {0};
    for (unsigned s = 0; s < shares; s++) {
        struct ecase k;
        ecase_open(&k, "vars.address-groups.HOME_NET=any;stream.midstream=yes", rules);
        engine_worker_share(k.w, s, shares);
        read_through(&k, path, k.w);
        for (unsigned i = 0; i < EVENT_TYPE_COUNT; i++)
            t.events[i] += k.nevents[i];
        t.alerts += ecounted(&k, SK_C_DETECT_ALERTS);
        t.packets += ecounted(&k, SK_C_PKTS);
        for (unsigned c = SK_LP_FIRST; c <= SK_LP_LAST; c++)
            t.ledger[c - SK_LP_FIRST] += ecounted(&k, (enum sk_counter)c);
        ecase_close(&k);
    }
    return t;
}

static void shares_add_up(void **state)
{
    (void)state;
    DIR *d = opendir("pcaps");
    assert_non_null(d);
    unsigned files = 0;
    uint64_t alerts_seen = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strstr(e->d_name, ".pcap"))
            continue;
        char path[600];
        snprintf(path, sizeof path, "pcaps/%s", e->d_name);
        struct totals one = run(path, 1), four = run(path, 4);
        if (memcmp(&one, &four, sizeof one) != 0)
            fail_msg("%s: %llu alerts by one worker, %llu by four; %llu and %llu packets", path,
                     (unsigned long long)one.alerts, (unsigned long long)four.alerts, (unsigned long long)one.packets,
                     (unsigned long long)four.packets);
        alerts_seen += one.alerts;
        files++;
    }
    closedir(d);
    assert_true(files >= 10);
    assert_true(alerts_seen > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shares_add_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
