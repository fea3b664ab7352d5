/* `policy publish`, `rules publish`, `bundles`. */
#include <errno.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/escape.h"
#include "cli.h"
#include "options.h"
#include "pki/bundle.h"
#include "place.h"
#include "policy.h"
#include "show.h"

#define SHOWN_MAX 20 /* versions of a kind that `bundles` shows */

/* Whole file, the caller's; at most BUNDLE_MAX. */
static char *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "re");
    char *text = malloc(BUNDLE_MAX + 1);
    if (f == NULL || text == NULL) {
        cli_fail("%s: %s", path, strerror(errno));
    } else {
        *len = fread(text, 1, BUNDLE_MAX + 1, f);
        if (!ferror(f) && *len <= BUNDLE_MAX) {
            fclose(f);
            text[*len < BUNDLE_MAX ? *len : BUNDLE_MAX] = '\0';
            return text;
        }
        cli_fail("%s: %s", path, ferror(f) ? strerror(errno) : "too long");
    }
    free(text);
    if (f != NULL)
        fclose(f);
    return NULL;
}

static int read_rules(const struct options *o, json_t *files)
{
    for (int i = 0; i < o->narg; i++) {
        size_t len;
        char *text = slurp(o->arg[i], &len), *copy = strdup(o->arg[i]);
        json_t *t = text != NULL ? json_stringn(text, len) : NULL;
        int rc = CLI_OK;
        if (text == NULL || copy == NULL)
            rc = CLI_FAILED;
        else if (t == NULL)
            rc = cli_fail("%s: is no UTF-8", o->arg[i]);
        else
            json_array_append_new(files, json_pack("{s:s,s:O}", "name", basename(copy), "text", t));
        json_decref(t);
        free(text);
        free(copy);
        if (rc != CLI_OK)
            return rc;
    }
    return CLI_OK;
}

static int read_policy(const struct options *o, json_t **settings)
{
    size_t len;
    char *text = slurp(o->arg[0], &len);
    if (text == NULL)
        return CLI_FAILED;
    int rc = policy_read(o->arg[0], text, len, &sk_diag_stderr, settings);
    free(text);
    return rc == SK_OK ? CLI_OK : CLI_FAILED;
}

struct signer {
    uint8_t secret[PKI_ED25519_KEY], public_key[PKI_ED25519_KEY];
};

/* Agents must believe the key: a bundle that all refuse would be in their way until the next version. */
static int open_signer(const struct options *o, struct signer *k)
{
    uint8_t keys[PLACE_KEYS_MAX][PKI_ED25519_KEY];
    unsigned n;
    char path[PLACE_PATH], line[48];
    snprintf(path, sizeof(path), "%s/signing.key", o->settings->state_dir);
    const char *file = o->key != NULL ? o->key : path;
    int rc = pki_sign_key_open(file, false, k->secret, k->public_key);
    if (rc != SK_OK)
        return cli_fail("%s: %s%s", file, rc == SK_EIO ? strerror(errno) : sk_strerror(rc),
                        rc == SK_ENOENT && o->key == NULL ? "; --key says where it is kept" : "");
    if (place_signing_keys(o->settings->state_dir, keys, &n) != SK_OK)
        return cli_fail("%s/signing.pub cannot be read", o->settings->state_dir);
    for (unsigned i = 0; i < n; i++)
        if (memcmp(keys[i], k->public_key, PKI_ED25519_KEY) == 0)
            return CLI_OK;
    return cli_fail("%s: no host would believe this key; `run` tells them those of %s/signing.pub, to which this line "
                    "belongs: %s",
                    file, o->settings->state_dir, place_key_text(k->public_key, line));
}

static int add(const struct options *o, const struct store_bundle *b, const char *name)
{
    char detail[STORE_TEXT_MAX], what[32];
    snprintf(detail, sizeof(detail), "version %lld%s%.300s", (long long)b->version, o->note != NULL ? ": " : "",
             o->note != NULL ? o->note : "");
    snprintf(what, sizeof(what), "%s.publish", name);
    int rc = store_bundle_add(o->store, b);
    return rc == SK_OK ? store_audit(o->store, b->created, o->who, what, detail) : rc;
}

/* In one transaction: whoever publishes at the same time gets another version, or is told. */
static int publish(const struct options *o, enum bundle_kind kind, json_t *body, const struct signer *k)
{
    const char *name = bundle_kind_name(kind);
    struct store_bundle b = {.created = options_now()};
    char *payload = NULL;
    int rc = store_begin(o->store), made = SK_OK;
    snprintf(b.kind, sizeof(b.kind), "%s", name);
    if (rc == SK_OK)
        rc = store_bundle_latest(o->store, name, &b.version);
    b.version++;
    if (rc == SK_OK)
        made = bundle_make(kind, b.version, b.created, o->note != NULL ? o->note : "", body, &payload, &b.len);
    if (rc == SK_OK && made == SK_OK)
        made = pki_sign(k->secret, payload, b.len, b.sig);
    b.payload = payload;
    if (rc == SK_OK && made == SK_OK)
        rc = add(o, &b, name);
    if (rc == SK_OK && made == SK_OK)
        rc = store_commit(o->store);
    else
        store_rollback(o->store);
    free(payload);
    if (made != SK_OK)
        return cli_fail("this is no %s that can be signed: %s", name, sk_strerror(made));
    if (rc == SK_EEXIST)
        return cli_fail("another version was published at the same time; try again");
    if (rc != SK_OK)
        return options_store_failed(o);
    printf("%s version %lld is published: hosts take it up with their next poll\n", name, (long long)b.version);
    return CLI_OK;
}

/* Files first: root becomes the owner of the state folder, who may not be able to read them. */
static int publish_command(int argc, char **argv, enum bundle_kind kind, int most)
{
    struct options o;
    struct signer k;
    json_t *body = kind == BUNDLE_RULES ? json_array() : NULL;
    int rc = options_parse(&o, argc, argv, "Kn", 1, most);
    if (rc == CLI_OK)
        rc = kind == BUNDLE_RULES ? read_rules(&o, body) : read_policy(&o, &body);
    if (rc == CLI_OK)
        rc = options_settings(&o);
    if (rc == CLI_OK)
        rc = open_signer(&o, &k);
    settings_free(o.settings);
    o.settings = NULL;
    if (rc == CLI_OK)
        rc = options_store(&o);
    if (rc == CLI_OK)
        rc = publish(&o, kind, body, &k);
    OPENSSL_cleanse(&k, sizeof(k));
    json_decref(body);
    return options_close(&o, rc);
}

int cmd_policy_publish(int argc, char **argv)
{
    return publish_command(argc, argv, BUNDLE_POLICY, 1);
}

int cmd_rules_publish(int argc, char **argv)
{
    return publish_command(argc, argv, BUNDLE_RULES, -1);
}

/* ---- bundles ---- */

struct counting {
    enum bundle_kind kind;
    int64_t version;
    json_int_t agents, all;
};

static void count_agent(void *arg, const struct store_agent *a)
{
    struct counting *c = arg;
    if (a->state != STORE_AGENT_ACTIVE)
        return;
    c->all++;
    c->agents += (c->kind == BUNDLE_RULES ? a->rules_version : a->policy_version) == c->version;
}

static void add_row(void *rows, const struct store_bundle *b)
{
    json_t *payload = json_loadb(b->payload, b->len, 0, NULL);
    json_t *note = json_object_get(payload, "note"), *files = json_object_get(payload, "files");
    json_int_t holds =
        (json_int_t)(files != NULL ? json_array_size(files) : json_object_size(json_object_get(payload, "settings")));
    json_array_append_new(rows,
                          json_pack("{s:s,s:I,s:I,s:I,s:I,s:O}", "kind", b->kind, "version", (json_int_t)b->version,
                                    "created_ms", (json_int_t)b->created, "bytes", (json_int_t)b->len, "holds", holds,
                                    "note", note != NULL ? note : json_null()));
    json_decref(payload);
}

static int list_kind(const struct options *o, enum bundle_kind kind, json_t *rows)
{
    int64_t latest;
    int rc = store_bundle_latest(o->store, bundle_kind_name(kind), &latest);
    for (int64_t v = latest; rc == SK_OK && v > 0 && v > latest - SHOWN_MAX; v--) {
        size_t before = json_array_size(rows);
        struct counting c = {.kind = kind, .version = v};
        rc = store_bundle_get(o->store, bundle_kind_name(kind), v, add_row, rows);
        if (rc == SK_OK)
            rc = store_agents(o->store, count_agent, &c);
        if (rc == SK_ENOENT)
            rc = SK_OK; /* its number was never given out, or it has been pruned */
        if (json_array_size(rows) > before) {
            json_object_set_new(json_array_get(rows, before), "agents", json_integer(c.agents));
            json_object_set_new(json_array_get(rows, before), "agents_in_all", json_integer(c.all));
        }
    }
    return rc;
}

int cmd_bundles(int argc, char **argv)
{
    static const struct show_column columns[] = {
        {"KIND", "kind", SHOW_TEXT, 0},
        {"VERSION", "version", SHOW_NUMBER, 0},
        {"PUBLISHED (UTC)", "created_ms", SHOW_TIME, 0},
        {"HOLDS", "holds", SHOW_NUMBER, 0},
        {"BYTES", "bytes", SHOW_NUMBER, 0},
        {"HOSTS", "agents", SHOW_NUMBER, 0},
        {"OF", "agents_in_all", SHOW_NUMBER, 0},
        {"NOTE", "note", SHOW_TEXT, 60},
    };
    struct options o;
    int rc = options_open(&o, argc, argv, "j", 0, 0);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    json_t *rows = json_array();
    int err = SK_OK;
    for (unsigned k = 0; err == SK_OK && k < BUNDLE_KINDS; k++)
        err = list_kind(&o, (enum bundle_kind)k, rows);
    if (err != SK_OK) {
        json_decref(rows);
        return options_close(&o, options_store_failed(&o));
    }
    show_rows(rows, o.json, columns, sizeof(columns) / sizeof(columns[0]), options_now(), "nothing has been published");
    return options_close(&o, CLI_OK);
}
