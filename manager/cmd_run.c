/* `run`: the parts of the manager, from start to end. */
#include <errno.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>
#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli.h"
#include "fetch/fetch.h"
#include "instances.h"
#include "leader.h"
#include "options.h"
#include "output/output.h"
#include "place.h"
#include "show.h"
#include "world.h"

#define REPORT_EVERY 10                    /* seconds: what this manager says of itself in the store */
#define RENEW_EVERY  3600                  /* seconds: is the certificate to be renewed? */
#define FORGET_MS    (600 * INT64_C(1000)) /* a manager that has said nothing for so long is left out */
#define NAME_MAX_LEN 320

struct run {
    struct options o;
    struct place place;
    char where[PLACE_PATH], name[NAME_MAX_LEN]; /* name: HOST:PORT, in status and audit */
    struct aws *aws;
    struct instance_certs *certs;
    uint8_t keys[PLACE_KEYS_MAX][PKI_ED25519_KEY];
    unsigned nkeys;
    struct leader *leader;
    struct instances *instances;
    struct output *output;
    struct api *api;
    int64_t started; /* ms */
};

static int fail(const char *what, const char *why)
{
    sk_log(SK_LOG_ERROR, "%s%s%s", what, why[0] != '\0' ? ": " : "", why);
    return CLI_FAILED;
}

/* ---- start ---- */

static int open_place(struct run *r)
{
    char why[512] = "", print[65];
    const struct settings *s = r->o.settings;
    int64_t now = sk_now_wall();
    int rc = place_open(s, now, &r->place, why, sizeof(why));
    if (rc == SK_OK && s->certificate[0] == '\0')
        rc = place_server(&r->place, s, NULL, 0, now, why, sizeof(why));
    if (rc == SK_OK && place_signing_keys(s->state_dir, r->keys, &r->nkeys) != SK_OK) {
        snprintf(why, sizeof(why), "signing.pub cannot be read");
        rc = SK_EINVAL;
    }
    if (rc != SK_OK)
        return fail("the state folder", why);
    if (geteuid() == 0)
        sk_log(SK_LOG_WARN, "runs as root, and need not: give %s to a user of its own", s->state_dir);
    if (pki_cert_fingerprint(pki_ca_pem(r->place.ca), print) == SK_OK)
        sk_log(SK_LOG_INFO, "%s; CA fingerprint %s", r->place.made ? "CA and keys are made" : r->place.dir, print);
    return CLI_OK;
}

static int open_store(struct run *r)
{
    char why[256];
    options_store_where(r->o.settings, r->where);
    if (store_open(r->where, &r->o.store, why, sizeof(why)) != SK_OK)
        return fail("the database does not open", why);
    return CLI_OK;
}

static int open_aws(struct run *r)
{
    bool sns = false;
    for (uint32_t i = 0; i < r->o.settings->noutputs; i++)
        sns = sns || r->o.settings->outputs[i].kind == OUTPUT_SNS;
    if (fetch_init() != SK_OK)
        return fail("libcurl", "");
    if ((sns || r->o.settings->waf.enabled || r->o.settings->agents.follow_instances) &&
        world_aws(r->o.settings, &r->aws) != SK_OK)
        return fail("AWS cannot be set up", "");
    return CLI_OK;
}

static int open_identity(struct run *r)
{
    int line = 0;
    char why[64];
    const char *path = r->o.settings->identity.certificates;
    if (path[0] == '\0')
        return CLI_OK;
    int rc = instance_certs_open(path, &r->certs, &line);
    snprintf(why, sizeof(why), "line %d: %s", line, sk_strerror(rc));
    return rc == SK_OK ? CLI_OK : fail(path, why);
}

/* In the API's transaction, so that nothing is taken and not told, or told and not taken. */
static void taken(void *arg, void *store, const char *agent, const char *item)
{
    const struct settings *s = ((const struct run *)arg)->o.settings;
    output_take(store, s->outputs, s->noutputs, agent, item, sk_now_wall() / SK_NS_PER_MS);
}

static struct api_options api_options(struct run *r)
{
    const struct settings *s = r->o.settings;
    struct api_options a = {
        .store = r->where,
        .ca = r->place.ca,
        .signing_keys = r->keys,
        .nsigning_keys = r->nkeys,
        .instance_certs = r->certs,
        .instance_policy = {.accounts = s->identity.accounts.v,
                            .naccounts = s->identity.accounts.n,
                            .regions = s->identity.regions.v,
                            .nregions = s->identity.regions.n,
                            .max_age = s->identity.max_age},
        .instance_required = s->identity.required,
        .cert_lifetime = s->agents.cert_lifetime,
        .max_block = s->agents.max_block,
        .max_blocks = s->agents.max_blocks,
        .heartbeat_s = (uint32_t)(s->agents.heartbeat / SK_NS_PER_S),
        .never = s->never.v,
        .nnever = s->never.n,
        .max_connections = s->limits.connections,
        .max_per_address = s->limits.per_address,
        .agent_rate = s->limits.agent_rate,
        .address_rate = s->limits.address_rate,
        .waf = leader_waf(r->leader),
        .taken = s->noutputs > 0 ? taken : NULL,
        .taken_arg = r,
    };
    return a;
}

static int start_api(struct run *r)
{
    char why[512] = "", *cert, *key;
    struct api_options a = api_options(r);
    if (settings_listen(r->o.settings->listen, &a.listen, &a.port) != SK_OK)
        return fail("listen", ""); /* settings_check has seen it */
    if (place_certificate(&r->place, r->o.settings, &cert, &key, why, sizeof(why)) != SK_OK)
        return fail("the server's certificate", why);
    a.cert_pem = cert;
    a.key_pem = key;
    int rc = api_start(&a, &r->api, why, sizeof(why));
    free(cert);
    pki_wipe(key);
    return rc == SK_OK ? CLI_OK : fail("the HTTPS interface", why[0] != '\0' ? why : sk_strerror(rc));
}

static void name_manager(struct run *r)
{
    char host[256] = "manager";
    const char *colon = strrchr(r->o.settings->listen, ':');
    if (gethostname(host, sizeof(host) - 1) != 0)
        strcpy(host, "manager");
    snprintf(r->name, sizeof(r->name), "%s%s", host, colon != NULL ? colon : "");
}

static void lead_outputs(struct run *r)
{
    if (r->output != NULL)
        output_lead(r->output, leader_leads(r->leader));
}

static int start(struct run *r)
{
    char why[512] = "";
    const struct settings *s = r->o.settings;
    name_manager(r);
    int rc = open_place(r);
    if (rc == CLI_OK)
        rc = open_store(r);
    if (rc == CLI_OK)
        rc = open_aws(r);
    if (rc == CLI_OK)
        rc = open_identity(r);
    if (rc != CLI_OK)
        return rc;
    if (leader_start(s, r->where, r->name, s->waf.enabled ? r->aws : NULL, &r->leader, why, sizeof(why)) != SK_OK)
        return fail("the writer of AWS WAF", why);
    if (s->agents.follow_instances && instances_start(r->where, r->aws, r->leader, &r->instances) != SK_OK)
        return fail("the thread that asks EC2", "");
    if (s->noutputs > 0 &&
        output_start(r->where, r->aws, s->outputs, s->noutputs, &r->output, why, sizeof(why)) != SK_OK)
        return fail("the outputs", why);
    lead_outputs(r);
    return start_api(r);
}

/* The API first: nothing comes in any more. What is to be sent is in the store. */
static void stop(struct run *r)
{
    if (r->api != NULL)
        api_stop(r->api);
    if (r->output != NULL)
        output_stop(r->output);
    instances_stop(r->instances);
    leader_stop(r->leader);
    if (r->aws != NULL)
        aws_close(r->aws);
    if (r->certs != NULL)
        instance_certs_free(r->certs);
    place_close(&r->place);
}

/* ---- while it runs ---- */

static void set_certificate(struct run *r)
{
    char why[512] = "", *cert, *key;
    if (place_certificate(&r->place, r->o.settings, &cert, &key, why, sizeof(why)) != SK_OK ||
        api_set_certificate(r->api, cert, key) != SK_OK)
        sk_log(SK_LOG_ERROR, "the certificate stays as it was: %s", why[0] != '\0' ? why : "it cannot be used");
    else
        sk_log(SK_LOG_INFO, "certificate and key are read again");
    free(cert);
    pki_wipe(key);
}

static void reload(struct run *r)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(sk_now_mono() / SK_NS_PER_US));
    set_certificate(r);
    sd_notify(0, "READY=1");
}

static void renew(struct run *r)
{
    char why[512] = "";
    const struct settings *s = r->o.settings;
    if (s->certificate[0] != '\0' || !place_server_due(&r->place, sk_now_wall()))
        return;
    if (place_server(&r->place, s, NULL, 0, sk_now_wall(), why, sizeof(why)) != SK_OK)
        sk_log(SK_LOG_ERROR, "the server's certificate is not renewed: %s", why);
    else
        set_certificate(r);
}

static void add_part(json_t *j, const char *name, char *text)
{
    json_t *part = text != NULL ? json_loads(text, 0, NULL) : NULL;
    if (part != NULL)
        json_object_set_new(j, name, part);
    free(text);
}

static json_t *report_of(struct run *r, int64_t now_ms)
{
    json_t *j = json_pack("{s:s,s:I,s:I,s:b,s:i}", "version", SK_VERSION, "time_ms", (json_int_t)now_ms, "started_ms",
                          (json_int_t)r->started, "leads", (int)leader_leads(r->leader), "port", (int)api_port(r->api));
    add_part(j, "api", api_status(r->api));
    if (r->output != NULL)
        add_part(j, "outputs", output_status(r->output));
    return j;
}

static void drop_silent(json_t *all, int64_t now_ms)
{
    const char *name;
    json_t *m;
    void *next;
    json_object_foreach_safe(all, next, name, m)
    {
        if (now_ms - json_integer_value(json_object_get(m, "time_ms")) > FORGET_MS)
            json_object_del(all, name);
    }
}

/* One memo for all managers: `status` shows them. Two that write at once cost one of them a turn. */
static void report(struct run *r, bool last)
{
    int64_t now_ms = sk_now_wall() / SK_NS_PER_MS;
    char *text = NULL;
    if (store_begin(r->o.store) != SK_OK)
        return;
    int rc = store_memo_get(r->o.store, "managers", &text);
    json_t *all = rc == SK_OK ? show_nested(text) : json_object();
    free(text);
    drop_silent(all, now_ms);
    json_object_del(all, r->name);
    if (!last)
        json_object_set_new(all, r->name, report_of(r, now_ms));
    text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    if ((rc == SK_OK || rc == SK_ENOENT) && text != NULL && store_memo_set(r->o.store, "managers", text) == SK_OK)
        rc = store_commit(r->o.store);
    else
        store_rollback(r->o.store);
    free(text);
}

static void serve(struct run *r, const sigset_t *signals)
{
    uint64_t watchdog = 0;
    const struct timespec second = {.tv_sec = 1};
    sd_watchdog_enabled(0, &watchdog);
    for (unsigned tick = 0;; tick++) {
        int s = sigtimedwait(signals, NULL, &second);
        if (s == SIGTERM || s == SIGINT)
            return;
        if (s == SIGHUP)
            reload(r);
        lead_outputs(r);
        if (tick % REPORT_EVERY == 0)
            report(r, false);
        if (tick % RENEW_EVERY == RENEW_EVERY - 1)
            renew(r);
        if (watchdog != 0)
            sd_notify(0, "WATCHDOG=1");
    }
}

int cmd_run(int argc, char **argv)
{
    static struct run r;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sk_log_setup("sekisho-manager", SK_LOG_INFO, getenv("JOURNAL_STREAM") != NULL);
    int rc = options_parse(&r.o, argc, argv, "", 0, 0);
    if (rc == CLI_OK)
        rc = options_settings(&r.o);
    if (rc != CLI_OK)
        return options_close(&r.o, rc);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* threads inherit it: signals come to serve() alone */
    r.started = options_now();
    rc = start(&r);
    if (rc == CLI_OK) {
        sk_log(SK_LOG_INFO, "serves on %s, port %u, %s", r.o.settings->listen, api_port(r.api), store_kind(r.o.store));
        sd_notifyf(0, "READY=1\nSTATUS=port %u", api_port(r.api));
        serve(&r, &signals);
        sd_notify(0, "STOPPING=1");
        report(&r, true);
    }
    stop(&r);
    if (rc == CLI_OK)
        sk_log(SK_LOG_INFO, "has stopped");
    return options_close(&r.o, rc);
}
