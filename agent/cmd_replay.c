/*
 * `sekisho replay`: capture files through the engine, in this process, with a guard that only records. Several workers
 * each read the files and take the flows that are theirs, so that results do not depend on their number.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/escape.h"
#include "cli.h"
#include "commands.h"
#include "enforce/enforcer.h"
#include "enforce/nft_fake.h"
#include "event/json.h"
#include "inputs.h"
#include "never_conf.h"

#define MAX_ARGS 256
#define MAX_LEAD 8 /* batches that a worker may be ahead of another: rates are counted over all of them */

struct replay_args {
    const char *conf, *home, *vars, *dir, *mode, *checksum;
    const char *rules[MAX_ARGS], *sets[MAX_ARGS];
    unsigned nrules, nsets, jobs;
    bool quiet;
    char **pcaps;
    unsigned npcaps;
};

/* What the workers share; lock guards all of it. */
struct replay {
    const struct replay_args *a;
    struct conf *conf;
    struct engine *engine;
    pthread_mutex_t lock;
    pthread_cond_t moved; /* a worker has come further, or to its end */
    struct replay_worker *worker;
    FILE *eve;
    char eve_tmp[4096], eve_path[4096];
    bool eve_failed;
    struct sk_strbuf line;
    struct event_json_opts json;
    struct nft_fake *fake;
    struct never_list *never;
    struct block_table *table;
    struct policy_limits limits;
    struct enforcer *enforcer;
    uint64_t alerts, floods, refused;
    int64_t first_ts, last_ts;
    int rc;
    char error[300];
};

struct replay_worker {
    struct replay *r;
    unsigned index;
    pthread_t thread;
    struct sk_counters c;
    struct engine_worker *w;
    uint64_t batches;
    bool done;
    uint64_t frames; /* in the files; each worker meets all of them */
};

static int add_to(const char **list, unsigned *n, const char *what)
{
    if (*n == MAX_ARGS - 2) /* room for --mode and -k */
        return cli_usage("replay", "more than %d options of one kind", MAX_ARGS - 2);
    list[(*n)++] = what;
    return CLI_OK;
}

/* One of two words. */
static int choose(const char **to, const char *option, const char *arg, const char *one, const char *other)
{
    *to = arg;
    if (strcmp(arg, one) == 0 || strcmp(arg, other) == 0)
        return CLI_OK;
    return cli_usage("replay", "%s is %s or %s, not '%s'", option, one, other, arg);
}

static int take_jobs(struct replay_args *a, const char *arg)
{
    char *end;
    unsigned long n = strtoul(arg, &end, 10);
    if (*arg == '\0' || *end != '\0' || n < 1 || n > SK_MAX_WORKERS)
        return cli_usage("replay", "-j is a number from 1 to %d, not '%s'", SK_MAX_WORKERS, arg);
    a->jobs = (unsigned)n;
    return CLI_OK;
}

static int take_option(struct replay_args *a, char *const *argv, int c)
{
    enum { OPT_SET = 256, OPT_HOME, OPT_MODE, OPT_VARS };
    switch (c) {
    case 'c': a->conf = optarg; return CLI_OK;
    case 'S': return add_to(a->rules, &a->nrules, optarg);
    case 'l': a->dir = optarg; return CLI_OK;
    case 'k': return choose(&a->checksum, "-k", optarg, "none", "all");
    case 'q': a->quiet = true; return CLI_OK;
    case 'j': return take_jobs(a, optarg);
    case OPT_SET: return add_to(a->sets, &a->nsets, optarg);
    case OPT_HOME: a->home = optarg; return CLI_OK;
    case OPT_MODE: return choose(&a->mode, "--mode", optarg, "detect", "prevent");
    case OPT_VARS: a->vars = optarg; return CLI_OK;
    default: return cli_bad_option("replay", argv, c);
    }
}

static int parse(struct replay_args *a, int argc, char **argv)
{
    static const struct option opts[] = {
        {"set", required_argument, NULL, 256},    {"home", required_argument, NULL, 257},
        {"mode", required_argument, NULL, 258},   {"vars", required_argument, NULL, 259},
        {"config", required_argument, NULL, 'c'}, {"rules", required_argument, NULL, 'S'},
        {"log", required_argument, NULL, 'l'},    {"workers", required_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},        {0}};
    a->jobs = 1;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, ":c:S:l:j:k:q", opts, NULL)) != -1;) {
        int rc = take_option(a, argv, c);
        if (rc != CLI_OK)
            return rc;
    }
    a->pcaps = argv + optind;
    a->npcaps = (unsigned)(argc - optind);
    if (a->mode)
        a->sets[a->nsets++] = strcmp(a->mode, "prevent") == 0 ? "mode=prevent" : "mode=detect";
    if (a->checksum)
        a->sets[a->nsets++] =
            strcmp(a->checksum, "none") == 0 ? "capture.checksum-validation=no" : "capture.checksum-validation=yes";
    return a->npcaps ? CLI_OK : cli_usage("replay", "no capture file is named");
}

/* --- sinks; several workers call them --- */

static void print_alert(const struct event_rec *r)
{
    char when[40], src[SK_ADDR_STRLEN], dst[SK_ADDR_STRLEN], msg[512];
    struct sk_span sig = {0}, client;
    event_find_item(r, EVENT_I_SIGNATURE, &sig);
    printf("%s [%u:%u:%u] %s [priority %u] ", sk_time_format(r->ts, when), r->alert.gid, r->alert.sid, r->alert.rev,
           sk_escape(msg, sizeof msg, sig), r->alert.severity);
    if (r->has & EVENT_HAS_PORTS)
        printf("%s:%u -> %s:%u", sk_addr_format(&r->src, src), r->sport, sk_addr_format(&r->dst, dst), r->dport);
    else
        printf("%s -> %s", sk_addr_format(&r->src, src), sk_addr_format(&r->dst, dst));
    if (event_find_item(r, EVENT_I_XFF, &client)) /* behind a proxy */
        printf(" (client %s)", sk_escape(msg, sizeof msg, client));
    putchar('\n');
}

static void print_flood(const struct event_rec *r)
{
    char when[40], who[SK_PREFIX_STRLEN];
    struct sk_prefix p = sk_prefix_make(&r->flood.addr, r->flood.plen);
    printf("%s FLOOD %s: %lu connections and requests a second, %u are allowed\n", sk_time_format(r->ts, when),
           sk_prefix_format(&p, who), r->flood.rate, r->flood.limit);
}

static void on_event(void *arg, const void *rec, uint32_t len)
{
    struct replay *r = ((struct replay_worker *)arg)->r;
    const struct event_rec *e = rec;
    pthread_mutex_lock(&r->lock);
    r->alerts += e->type == EVENT_ALERT;
    r->floods += e->type == EVENT_FLOOD;
    if (e->type == EVENT_ALERT && !r->a->quiet)
        print_alert(e);
    else if (e->type == EVENT_FLOOD && !r->a->quiet)
        print_flood(e);
    if (r->eve) {
        sk_strbuf_clear(&r->line);
        if (event_to_line(rec, len, &r->json, &r->line) != SK_OK ||
            fwrite(r->line.p, 1, r->line.len, r->eve) != r->line.len)
            r->eve_failed = true;
    }
    pthread_mutex_unlock(&r->lock);
}

static void fail(struct replay *r, int rc, const char *text)
{
    pthread_mutex_lock(&r->lock);
    if (r->rc == SK_OK) {
        r->rc = rc;
        snprintf(r->error, sizeof r->error, "%s", text);
    }
    pthread_mutex_unlock(&r->lock);
}

static void on_block(void *arg, const struct decide_request *req)
{
    struct replay *r = ((struct replay_worker *)arg)->r;
    struct enforce_outcome out;
    pthread_mutex_lock(&r->lock);
    enforcer_request(r->enforcer, req, BLOCK_RULE, req->ts, &out);
    if (out.result == ENFORCE_REFUSED_NEVER)
        r->refused++;
    int rc = enforcer_flush(r->enforcer, req->ts);
    pthread_mutex_unlock(&r->lock);
    if (rc != SK_OK)
        fail(r, rc, "cannot record a would-be block");
}

/* By packet time: what is blocked later does not count yet. */
static bool is_blocked(void *arg, const struct sk_addr *client, int64_t now)
{
    struct replay *r = ((struct replay_worker *)arg)->r;
    struct sk_prefix p = sk_prefix_make(client, 128);
    pthread_mutex_lock(&r->lock);
    const struct block *b = block_table_covering(r->table, &p);
    bool blocked = b && b->created <= now && b->expires > now;
    pthread_mutex_unlock(&r->lock);
    return blocked;
}

/* --- set-up --- */

static uint64_t active_clients(void *arg, int64_t now)
{
    return engine_active_clients(((const struct replay *)arg)->engine, now);
}

static int set_up_guard(struct replay *r)
{
    r->fake = nft_fake_create();
    r->never = never_create();
    r->table = block_table_create(r->conf->decide.max_blocks);
    if (!r->fake || !r->never || !r->table)
        return SK_ENOMEM;
    int rc = never_from_conf(r->never, r->conf, NULL);
    if (rc != SK_OK)
        return rc;
    r->limits = (struct policy_limits){.max_seconds = r->conf->decide.max_block_duration / SK_NS_PER_S,
                                       .max_blocks = r->conf->decide.max_blocks,
                                       .repeat_factor = r->conf->decide.repeat_factor,
                                       .repeat_memory = r->conf->decide.repeat_memory};
    struct enforcer_setup es = {.ops = &nft_fake_ops,
                                .ops_ctx = r->fake,
                                .table = r->table,
                                .never = r->never,
                                .limits = &r->limits,
                                .brake = &r->conf->decide.brake,
                                .active = active_clients,
                                .hook_arg = r};
    r->enforcer = enforcer_create(&es);
    return r->enforcer ? enforcer_restore(r->enforcer, 0) : SK_ENOMEM;
}

static void say_loaded(const struct engine_rule_stats *st, const struct findings *f)
{
    printf("%u rules loaded in %.1f s", st->loaded, st->parse_seconds + st->compile_seconds);
    if (st->rejected)
        printf("; %u not supported", st->rejected);
    if (f->warnings)
        printf("%s %u warning%s", st->rejected ? "," : ";", f->warnings, f->warnings == 1 ? "" : "s");
    printf(st->rejected || f->warnings ? " (see `sekisho check`)\n" : "\n");
}

static int load_engine(struct replay *r, struct findings *f)
{
    struct sk_diag_sink sink = findings_sink(f);
    uint32_t types = r->conf->eve.types;
    uint32_t mask = 1u << EVENT_ALERT | 1u << EVENT_FLOOD;
    if (r->a->dir) {
        mask |= (types & CONF_EVE_HTTP ? 1u << EVENT_HTTP : 0) | (types & CONF_EVE_FLOW ? 1u << EVENT_FLOW : 0) |
                (types & CONF_EVE_DROP ? 1u << EVENT_DROP : 0) | (types & CONF_EVE_ANOMALY ? 1u << EVENT_ANOMALY : 0) |
                (types & CONF_EVE_FILEINFO ? 1u << EVENT_FILEINFO : 0);
    }
    struct engine_options opt = {.offline = true, .event_mask = mask};
    struct inputs in = {0};
    struct engine_rule_stats st = {0};
    int rc = inputs_read(&in, r->conf, r->a->rules, r->a->nrules, &sink);
    if (rc == SK_OK)
        rc = engine_create(r->conf, &opt, &r->engine);
    if (rc == SK_OK)
        rc = engine_load(r->engine, in.v, in.n, false, &sink, &st);
    inputs_free(&in);
    if (rc != SK_OK) {
        if (!f->errors)
            fprintf(stderr, "sekisho: cannot load rules: %s\n", sk_strerror(rc));
        return rc;
    }
    if (f->errors)
        return SK_EINVAL;
    if (!r->a->quiet)
        say_loaded(&st, f);
    if (st.loaded == 0 && r->a->nrules == 0)
        fprintf(stderr, "sekisho: no rules are loaded, so there are no alerts: name rule files with -S\n");
    return SK_OK;
}

/* eve.json appears only when the replay is complete: until then it has another name. */
static int open_eve(struct replay *r)
{
    if (!r->a->dir)
        return SK_OK;
    if (mkdir(r->a->dir, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "sekisho: %s: cannot create the folder: %s\n", r->a->dir, strerror(errno));
        return SK_EIO;
    }
    snprintf(r->eve_path, sizeof r->eve_path, "%s/eve.json", r->a->dir);
    snprintf(r->eve_tmp, sizeof r->eve_tmp, "%s/eve.json.partial", r->a->dir);
    r->eve = fopen(r->eve_tmp, "we");
    if (!r->eve) {
        fprintf(stderr, "sekisho: %s: %s\n", r->eve_tmp, strerror(errno));
        return SK_EIO;
    }
    sk_strbuf_init(&r->line, 1 << 20);
    r->json =
        (struct event_json_opts){.payload = r->conf->eve.payload, .payload_printable = r->conf->eve.payload_printable};
    return SK_OK;
}

static int close_eve(struct replay *r, bool keep)
{
    if (!r->eve)
        return SK_OK;
    if (fclose(r->eve) != 0)
        r->eve_failed = true;
    r->eve = NULL;
    sk_strbuf_free(&r->line);
    if (keep && !r->eve_failed && rename(r->eve_tmp, r->eve_path) == 0)
        return SK_OK;
    if (keep)
        fprintf(stderr, "sekisho: %s: cannot write: %s\n", r->eve_path, strerror(errno ? errno : EIO));
    unlink(r->eve_tmp);
    return keep ? SK_EIO : SK_OK;
}

/* --- work --- */

/* Ctrl-C ends the reading, so that nothing half-done stays behind; a second one ends the program. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    interrupted = sig;
}

static void catch_interrupts(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction old, sa = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(signals[i], &sa, NULL);
}

static void show_progress(const struct replay *r, const struct capture *c, unsigned file, int64_t *next)
{
    int64_t now = sk_now_mono();
    if (now < *next)
        return;
    *next = now + 200 * SK_NS_PER_MS;
    uint64_t done = 0, size = 0;
    capture_file_progress(c, &done, &size);
    if (size)
        fprintf(stderr, "\r%s: %3u%% (file %u of %u)\033[K", r->a->pcaps[file], (unsigned)(done * 100 / size), file + 1,
                r->a->npcaps);
}

/* The lock is held. */
static bool is_ahead(const struct replay *r, const struct replay_worker *rw)
{
    for (unsigned i = 0; i < r->a->jobs; i++)
        if (!r->worker[i].done && r->worker[i].batches + MAX_LEAD < rw->batches)
            return true;
    return false;
}

/* A batch of frames is done, of that time. Waits for the others: they count rates together, by the time of packets. */
static void move_on(struct replay_worker *rw, int64_t first, int64_t last)
{
    struct replay *r = rw->r;
    pthread_mutex_lock(&r->lock);
    if (!r->first_ts || first < r->first_ts)
        r->first_ts = first;
    if (last > r->last_ts)
        r->last_ts = last;
    rw->batches++;
    pthread_cond_broadcast(&r->moved);
    while (is_ahead(r, rw))
        pthread_cond_wait(&r->moved, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

static void end_worker(struct replay_worker *rw)
{
    pthread_mutex_lock(&rw->r->lock);
    rw->done = true;
    pthread_cond_broadcast(&rw->r->moved);
    pthread_mutex_unlock(&rw->r->lock);
}

static int read_capture(struct replay_worker *rw, struct capture *c, unsigned file)
{
    struct replay *r = rw->r;
    bool tty = rw->index == 0 && !r->a->quiet && isatty(STDERR_FILENO);
    int64_t next_show = 0;
    struct capture_batch b;
    int rc = SK_OK;
    while (!interrupted && (rc = capture_recv(c, &b, 0)) == SK_OK) {
        for (unsigned i = 0; i < b.n; i++)
            engine_packet(rw->w, &b.f[i]);
        rw->frames += b.n;
        int64_t last = b.f[b.n - 1].ts, first = b.f[0].ts;
        capture_release(c, &b);
        engine_worker_idle(rw->w, last);
        if (tty)
            show_progress(r, c, file, &next_show);
        move_on(rw, first, last);
    }
    if (tty)
        fprintf(stderr, "\r\033[K");
    return rc == SK_EEND ? SK_OK : rc;
}

static void *run_worker(void *arg)
{
    struct replay_worker *rw = arg;
    struct replay *r = rw->r;
    for (unsigned i = 0; i < r->a->npcaps && !interrupted; i++) {
        struct capture *c;
        char err[256];
        int rc = capture_open_file(r->a->pcaps[i], &c, err);
        if (rc != SK_OK) {
            fail(r, rc, err);
            break;
        }
        rc = read_capture(rw, c, i);
        if (rc != SK_OK)
            fail(r, rc, capture_error(c));
        capture_close(c);
        if (rc != SK_OK)
            break;
    }
    engine_worker_finish(rw->w);
    end_worker(rw);
    return NULL;
}

/* Every file must open before anything is written. */
static int probe_files(const struct replay_args *a)
{
    for (unsigned i = 0; i < a->npcaps; i++) {
        struct capture *c;
        char err[256];
        if (strcmp(a->pcaps[i], "-") == 0) {
            if (a->jobs > 1) {
                fprintf(stderr, "sekisho: standard input can be read by one worker only: leave -j out\n");
                return SK_EINVAL;
            }
            continue;
        }
        struct stat st;
        if (stat(a->pcaps[i], &st) == 0 && !S_ISREG(st.st_mode))
            continue; /* a pipe cannot be opened twice */
        if (capture_open_file(a->pcaps[i], &c, err) != SK_OK) {
            fprintf(stderr, "sekisho: %s\n", err);
            return SK_EINVAL;
        }
        capture_close(c);
    }
    return SK_OK;
}

static int run_workers(struct replay *r, struct replay_worker *rw)
{
    unsigned n = r->a->jobs;
    int rc = SK_OK;
    for (unsigned i = 0; rc == SK_OK && i < n; i++) {
        rw[i].r = r;
        rw[i].index = i;
        struct engine_sink sink = {.event = on_event, .block = on_block, .is_blocked = is_blocked, .arg = &rw[i]};
        rc = engine_worker_create(r->engine, i, &sink, &rw[i].c, &rw[i].w);
        if (rc == SK_OK)
            engine_worker_share(rw[i].w, i, n);
    }
    if (rc != SK_OK) {
        fprintf(stderr, "sekisho: cannot set up a worker: %s\n", sk_strerror(rc));
    } else if (n == 1) {
        run_worker(&rw[0]);
    } else {
        unsigned started = 0;
        for (; started < n && pthread_create(&rw[started].thread, NULL, run_worker, &rw[started]) == 0; started++)
            ;
        if (started < n)
            fail(r, SK_EIO, "cannot start a thread");
        for (unsigned i = started; i < n; i++)
            end_worker(&rw[i]);
        for (unsigned i = 0; i < started; i++)
            pthread_join(rw[i].thread, NULL);
    }
    for (unsigned i = 0; i < n; i++)
        engine_worker_free(rw[i].w);
    return rc;
}

static void add_counters(struct sk_counters *sum, const struct replay_worker *rw, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < SK_C_COUNT; k++)
            sum->v[k] += rw[i].c.v[k];
    sum->v[SK_C_LEDGER_SENT] = rw[0].frames;
}

static void write_stats(struct replay *r, const struct sk_counters *sum)
{
    if (!r->eve || !(r->conf->eve.types & CONF_EVE_STATS))
        return;
    static uint64_t rec[EVENT_MAX / 8];
    uint32_t len = event_build_stats(rec, sizeof rec, sum, r->last_ts, (r->last_ts - r->first_ts) / SK_NS_PER_S);
    sk_strbuf_clear(&r->line);
    if (event_to_line(rec, len, &r->json, &r->line) != SK_OK ||
        fwrite(r->line.p, 1, r->line.len, r->eve) != r->line.len)
        r->eve_failed = true;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_summary(const struct replay *r, const struct sk_counters *sum, double wall, double cpu)
{
    const struct enforcer_stats *es = enforcer_stats(r->enforcer);
    double mib = (double)sum->v[SK_C_BYTES] / 1e6;
    printf("%lu packets, %lu bytes, %lu flows, %lu alerts, ", sum->v[SK_C_PKTS], sum->v[SK_C_BYTES], sum->v[SK_C_FLOWS],
           r->alerts);
    if (r->floods)
        printf("%lu floods, ", r->floods);
    printf("%lu would-be blocks", es->blocked);
    if (r->refused)
        printf(" (%lu refused by the never-list)", r->refused);
    if (es->refused_brake + es->refused_rate)
        printf(" (%lu refused by the brake)", es->refused_brake + es->refused_rate);
    if (sum->v[SK_C_DROPPED])
        printf(", %lu dropped", sum->v[SK_C_DROPPED]);
    printf("; %.2f s (%.2f s CPU), %.0f MB/s, %.0f packets/s\n", wall, cpu, wall > 0 ? mib / wall : 0,
           wall > 0 ? (double)sum->v[SK_C_PKTS] / wall : 0);
}

/* What was not inspected, by cause; nothing when everything was. */
static void print_ledger(const struct sk_counters *sum)
{
    uint64_t sent = sum->v[SK_C_LEDGER_SENT];
    const char *sep = "not inspected: ";
    for (unsigned c = SK_LP_FIRST + 1; c <= SK_LP_LAST; c++) {
        if (!sum->v[c])
            continue;
        printf("%s%lu %s (%.2f%%)", sep, sum->v[c], sk_counter_leaf((enum sk_counter)c),
               100 * (double)sum->v[c] / (double)sent);
        sep = ", ";
    }
    if (*sep == ',')
        putchar('\n');
}

static int replay(struct replay *r)
{
    struct replay_worker *rw = NULL;
    if (posix_memalign((void **)&rw, 64, r->a->jobs * sizeof *rw) != 0)
        return 1;
    memset(rw, 0, r->a->jobs * sizeof *rw);
    r->worker = rw;
    int64_t t0 = sk_now_mono();
    double cpu0 = cpu_seconds();
    int rc = run_workers(r, rw);
    if (rc == SK_OK)
        rc = interrupted ? SK_EIO : r->rc;
    if (interrupted)
        fprintf(stderr, "sekisho: interrupted%s\n", r->a->dir ? "; eve.json was not written" : "");
    else if (r->rc != SK_OK)
        fprintf(stderr, "sekisho: %s\n", r->error);
    struct sk_counters sum = {0};
    add_counters(&sum, rw, r->a->jobs);
    if (rc == SK_OK)
        write_stats(r, &sum);
    if (close_eve(r, rc == SK_OK) != SK_OK)
        rc = SK_EIO;
    if (rc == SK_OK) {
        print_ledger(&sum);
        print_summary(r, &sum, (double)(sk_now_mono() - t0) / 1e9, cpu_seconds() - cpu0);
    }
    free(rw);
    return rc == SK_OK ? 0 : 1;
}

static void tear_down(struct replay *r)
{
    engine_free(r->engine);
    enforcer_free(r->enforcer);
    block_table_free(r->table);
    never_free(r->never);
    nft_fake_free(r->fake);
    conf_free(r->conf);
    pthread_cond_destroy(&r->moved);
    pthread_mutex_destroy(&r->lock);
}

int cmd_replay(int argc, char **argv)
{
    struct replay_args a = {0};
    int rc = parse(&a, argc, argv);
    if (rc)
        return rc;
    struct findings f = {.quiet_unsupported = true, .quiet_notes = true};
    struct replay *r = calloc(1, sizeof *r);
    if (!r)
        return 1;
    r->a = &a;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->moved, NULL);
    r->conf = command_conf(a.conf, a.home, a.sets, a.nsets, a.vars, &f);
    rc = 1;
    if (r->conf && probe_files(&a) == SK_OK && set_up_guard(r) == SK_OK && load_engine(r, &f) == SK_OK) {
        catch_interrupts();
        if (open_eve(r) == SK_OK)
            rc = replay(r);
    }
    tear_down(r);
    free(r);
    if (interrupted) { /* the caller, a shell in a loop for instance, learns that it was a signal */
        fflush(stdout);
        signal(interrupted, SIG_DFL);
        raise(interrupted);
    }
    return rc;
}
