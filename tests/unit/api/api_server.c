/*
 * The API by itself, for the tests that speak HTTPS to it (tests/manager/api_*.py): a CA and a store in DIR. Prints one
 * line of JSON when it listens, and one for each command on standard input: "status", the counters; "routes", the
 * paths; "cert" takes a new server certificate; "policy", "rules" put a bundle into the store. The end stops it.
 */
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/api.h"
#include "api_priv.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/store.h"

#define NEVER_MAX 8

static const char *dir, *certs_file, *accounts[4], *regions[4];
static struct sk_prefix never[NEVER_MAX];
static struct instance_certs *certs;
static struct pki_ca *ca;
static uint8_t keys[1][PKI_ED25519_KEY];
static char store_name[512];

static struct api_options options = {
    .cert_lifetime = 30 * 86400 * SK_NS_PER_S,
    .max_block = 7 * 86400 * SK_NS_PER_S,
    .heartbeat_s = 30,
    .max_connections = 1000,
    .max_per_address = 500,
    .agent_rate = 200,
    .address_rate = 1000,
    .never = never,
    .signing_keys = keys,
    .nsigning_keys = 1,
};

static char *waf_status(void *ctx)
{
    (void)ctx;
    return strdup("{\"sets\":[]}");
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "api_server: %s: %s\n", what, why);
    exit(1);
}

static void set_number(char c, const char *v)
{
    unsigned n = (unsigned)strtoul(v, NULL, 10);
    switch (c) {
    case 'l': options.cert_lifetime = n * SK_NS_PER_S; break;
    case 'a': options.agent_rate = n; break;
    case 'A': options.address_rate = n; break;
    case 'c': options.max_connections = n; break;
    case 'C': options.max_per_address = n; break;
    case 'p': options.port = (uint16_t)n; break;
    case 'g': options.instance_policy.max_age = n * SK_NS_PER_S; break;
    default: exit(2);
    }
}

static void read_arguments(int argc, char **argv)
{
    int c;
    while ((c = getopt(argc, argv, "d:s:i:rwn:l:a:A:c:C:p:g:R:U:")) != -1) {
        switch (c) {
        case 'd': dir = optarg; break;
        case 's': snprintf(store_name, sizeof(store_name), "%s", optarg); break;
        case 'i': certs_file = optarg; break;
        case 'r': options.instance_required = true; break;
        case 'w': options.waf.status = waf_status; break;
        case 'R': regions[options.instance_policy.nregions++] = optarg; break;
        case 'U': accounts[options.instance_policy.naccounts++] = optarg; break;
        case 'n':
            if (options.nnever == NEVER_MAX ||
                sk_prefix_parse(optarg, strlen(optarg), false, &never[options.nnever++]) != SK_OK)
                die("-n", "no prefix");
            break;
        default: set_number((char)c, optarg); break;
        }
    }
    if (dir == NULL)
        die("-d", "missing");
    if (store_name[0] == '\0')
        snprintf(store_name, sizeof(store_name), "sqlite:%s/manager.db", dir);
}

/* The first operator's token; all others are made over the API. */
static void make_token(char *secret)
{
    struct store *s;
    struct store_token t = {.kind = STORE_TOKEN_OPERATOR, .expires = STORE_FOREVER, .uses_left = -1};
    char why[256], random[64];
    if (store_open(store_name, &s, why, sizeof(why)) != SK_OK)
        die(store_name, why);
    if (pki_random_text(32, random) != SK_OK || pki_random_text(10, t.id) != SK_OK)
        die("token", "no random numbers");
    sprintf(secret, "sko_%s", random);
    pki_hash_text(secret, strlen(secret), t.hash);
    strcpy(t.role, "admin");
    strcpy(t.tags, "{}");
    t.created = sk_now_wall() / SK_NS_PER_MS;
    if (store_token_add(s, &t) != SK_OK)
        die("token", store_error(s));
    store_close(s);
}

static char *where(void *ctx, const struct sk_prefix *target)
{
    (void)ctx, (void)target;
    return strdup("[{\"set\":\"test-v4-0\",\"scope\":\"REGIONAL\",\"region\":\"eu-west-1\"}]");
}

static void prepare(char **key_pem, char **cert_pem)
{
    static const char *const names[] = {"localhost", "127.0.0.1"};
    char path[512];
    int line = 0;
    snprintf(path, sizeof(path), "%s/ca", dir);
    if (pki_ca_open(path, sk_now_wall(), &ca) != SK_OK)
        die(path, "no CA");
    if (pki_ca_server(ca, names, 2, sk_now_wall(), 86400 * SK_NS_PER_S, key_pem, cert_pem) != SK_OK)
        die("server", "no certificate");
    if (certs_file != NULL && instance_certs_open(certs_file, &certs, &line) != SK_OK)
        die(certs_file, "no certificates");
    memset(keys[0], 7, sizeof(keys[0]));
    options.store = store_name;
    options.ca = ca;
    options.instance_certs = certs;
    options.instance_policy.accounts = accounts;
    options.instance_policy.regions = regions;
    options.waf.where = where;
    if (sk_addr_parse("127.0.0.1", 9, &options.listen) != SK_OK)
        die("127.0.0.1", "no address");
}

static void print_status(struct api *a)
{
    char *text = api_status(a);
    printf("%s\n", text);
    free(text);
}

static void print_routes(struct api *a)
{
    (void)a;
    for (unsigned i = 0; i < route_count(); i++)
        printf("%s[\"%s\",\"%s\"]", i == 0 ? "[" : ",", route_at(i)->method, route_at(i)->path);
    printf("]\n");
}

static void change_certificate(struct api *a)
{
    static const char *const names[] = {"localhost", "127.0.0.1"};
    char *key, *cert;
    if (pki_ca_server(ca, names, 2, sk_now_wall(), 86400 * SK_NS_PER_S, &key, &cert) != SK_OK)
        die("server", "no certificate");
    printf("{\"set\":%d}\n", api_set_certificate(a, cert, key));
    pki_wipe(key);
    free(cert);
}

static void add_bundle(const char *kind)
{
    struct store *s;
    static int64_t version = 6;
    char why[256];
    const char *payload = "{\"kind\": \"x\", \"text\": \"\\u00e9 \xc3\xa9 \\\\ \\\"\"}\n";
    struct store_bundle b = {.version = ++version, .created = 1, .payload = payload, .len = strlen(payload)};
    snprintf(b.kind, sizeof(b.kind), "%s", kind);
    memset(b.sig, 9, sizeof(b.sig));
    if (store_open(store_name, &s, why, sizeof(why)) != SK_OK || store_bundle_add(s, &b) != SK_OK)
        die("bundle", "not added");
    store_close(s);
    printf("{\"version\":%lld}\n", (long long)version);
}

static void add_policy(struct api *a)
{
    (void)a;
    add_bundle("policy");
}

static void add_rules(struct api *a)
{
    (void)a;
    add_bundle("rules");
}

static void serve(struct api *a)
{
    static const struct {
        const char *line;
        void (*run)(struct api *a);
    } commands[] = {{"status\n", print_status},
                    {"routes\n", print_routes},
                    {"cert\n", change_certificate},
                    {"policy\n", add_policy},
                    {"rules\n", add_rules}};
    char line[64];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
            if (strcmp(line, commands[i].line) == 0)
                commands[i].run(a);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct api *a;
    char *key, *cert, secret[80], why[256];
    read_arguments(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    sk_log_setup("api", SK_LOG_INFO, 0);
    prepare(&key, &cert);
    options.cert_pem = cert;
    options.key_pem = key;
    make_token(secret);
    if (api_start(&options, &a, why, sizeof(why)) != SK_OK)
        die("start", why);
    pki_wipe(key);
    free(cert);
    printf("{\"port\":%u,\"token\":\"%s\"}\n", api_port(a), secret);
    fflush(stdout);
    serve(a);
    api_stop(a);
    instance_certs_free(certs);
    pki_ca_free(ca);
    return 0;
}
