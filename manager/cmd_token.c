/* `token create`, `token list`, `token revoke`. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "base/escape.h"
#include "cli.h"
#include "options.h"
#include "pki/pki.h"
#include "place.h"
#include "show.h"

#define SECRET_BYTES 32
#define ID_BYTES     10
#define SECRET_LEN   80 /* prefix, base32 of SECRET_BYTES, NUL */
#define USES_MAX     1000000

static const char *const kinds[] = {"enrol", "operator", NULL};
static const char *const roles[] = {"read", "admin", NULL};

/* One use for a host; a token of a person serves as long as it lasts. */
static int take_uses(const struct options *o, struct store_token *t)
{
    t->uses_left = t->kind == STORE_TOKEN_ENROL ? 1 : -1;
    if (o->uses == NULL)
        return CLI_OK;
    if (t->kind == STORE_TOKEN_OPERATOR)
        return cli_usage(o->verb, "--uses goes with --kind enrol");
    if (strcmp(o->uses, "unlimited") == 0) {
        t->uses_left = -1;
        return CLI_OK;
    }
    char *end;
    long n = strtol(o->uses, &end, 10);
    if (o->uses[0] < '0' || o->uses[0] > '9' || *end != '\0' || n < 1 || n > USES_MAX)
        return cli_usage(o->verb, "--uses is a number from 1 to %d, or unlimited, not '%s'", USES_MAX, o->uses);
    t->uses_left = n;
    return CLI_OK;
}

static int take_tags(const struct options *o, struct store_token *t)
{
    json_t *tags = json_object();
    int rc = CLI_OK;
    for (unsigned i = 0; rc == CLI_OK && i < o->ntag; i++) {
        char key[64];
        size_t len = strcspn(o->tag[i], "=");
        snprintf(key, sizeof(key), "%.*s", (int)len, o->tag[i]);
        if (o->tag[i][len] != '=' || len == 0 || len >= sizeof(key))
            rc = cli_usage(o->verb, "--tag is KEY=VALUE, not '%s'", o->tag[i]);
        else if (json_object_set_new(tags, key, json_string(o->tag[i] + len + 1)) != 0)
            rc = cli_usage(o->verb, "--tag is no UTF-8");
    }
    char *text = json_dumps(tags, JSON_COMPACT | JSON_SORT_KEYS);
    if (rc == CLI_OK && (text == NULL || strlen(text) >= sizeof(t->tags)))
        rc = cli_usage(o->verb, "the tags are too long");
    else if (rc == CLI_OK)
        strcpy(t->tags, text);
    free(text);
    json_decref(tags);
    return rc;
}

static int take_note(const struct options *o, struct store_token *t)
{
    const char *note = o->note != NULL ? o->note : "";
    for (const char *p = note; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return cli_usage(o->verb, "--note holds control characters");
    if (strlen(note) >= sizeof(t->note))
        return cli_usage(o->verb, "--note is longer than %zu characters", sizeof(t->note) - 1);
    strcpy(t->note, note);
    return CLI_OK;
}

static int describe(const struct options *o, struct store_token *t)
{
    int kind, role, rc = options_word(o, "--kind", o->kind, kinds, &kind);
    if (rc == CLI_OK)
        rc = options_word(o, "--role", o->role, roles, &role);
    if (rc != CLI_OK)
        return rc;
    t->kind = (enum store_token_kind)kind;
    t->created = options_now();
    if (t->kind == STORE_TOKEN_ENROL && o->role != NULL)
        return cli_usage(o->verb, "--role goes with --kind operator");
    if (t->kind == STORE_TOKEN_OPERATOR)
        snprintf(t->role, sizeof(t->role), "%s", roles[role]);
    const char *lasts = o->duration != NULL ? o->duration : t->kind == STORE_TOKEN_ENROL ? "24h" : "90d";
    rc = options_until(lasts, true, t->created, &t->expires);
    if (rc == CLI_OK)
        rc = take_uses(o, t);
    if (rc == CLI_OK)
        rc = take_tags(o, t);
    return rc == CLI_OK ? take_note(o, t) : rc;
}

static int make_secret(struct store_token *t, char secret[SECRET_LEN])
{
    char text[SECRET_BYTES * 8 / 5 + 2], id[ID_BYTES * 8 / 5 + 2];
    if (pki_random_text(SECRET_BYTES, text) != SK_OK || pki_random_text(ID_BYTES, id) != SK_OK)
        return cli_fail("no random numbers");
    snprintf(secret, SECRET_LEN, "%s%s", t->kind == STORE_TOKEN_ENROL ? "ske_" : "sko_", text);
    OPENSSL_cleanse(text, sizeof(text));
    pki_hash_text(secret, strlen(secret), t->hash);
    snprintf(t->id, sizeof(t->id), "%s", id);
    return CLI_OK;
}

static int keep(const struct options *o, const struct store_token *t)
{
    char detail[STORE_TEXT_MAX];
    snprintf(detail, sizeof(detail), "%s %s%s%.200s", t->id, kinds[t->kind], t->note[0] != '\0' ? ": " : "", t->note);
    int rc = store_begin(o->store);
    if (rc == SK_OK)
        rc = store_token_add(o->store, t);
    if (rc == SK_OK)
        rc = store_audit(o->store, t->created, o->who, "token.create", detail);
    if (rc == SK_OK)
        rc = store_commit(o->store);
    else
        store_rollback(o->store);
    return rc == SK_OK ? CLI_OK : options_store_failed(o);
}

static json_t *row(const struct store_token *t)
{
    const char *state = t->revoked                                                   ? "revoked"
                        : t->expires != STORE_FOREVER && t->expires <= options_now() ? "expired"
                        : t->uses_left == 0                                          ? "used up"
                                                                                     : "valid";
    json_t *j = json_pack("{s:s,s:s,s:s,s:I,s:o,s:o,s:I,s:I,s:s,s:o,s:o}", "id", t->id, "kind", kinds[t->kind], "state",
                          state, "created_ms", (json_int_t)t->created, "expires_ms", show_ms(t->expires), "uses_left",
                          t->uses_left < 0 ? json_null() : json_integer(t->uses_left), "used", (json_int_t)t->used,
                          "last_used_ms", (json_int_t)t->last_used, "role", t->role, "note", show_string(t->note),
                          "tags", show_nested(t->tags));
    return j;
}

/* The secret alone on standard output, so that a script can take it; the rest for whoever reads along. */
static void print_token(const struct options *o, const struct store_token *t, const char *secret)
{
    char print[65], url[512], *pem = NULL;
    puts(secret);
    fprintf(stderr, "This is shown once. Token %s", t->id);
    if (t->kind == STORE_TOKEN_OPERATOR) {
        fprintf(stderr, ", operator (%s): Authorization: Bearer ...\n", t->role);
        return;
    }
    fprintf(stderr, "; on a host, as root:\n  sekisho enroll --manager %s --token-file FILE",
            place_url(o->settings, url, sizeof(url)));
    if (place_ca_pem(o->settings->state_dir, &pem) == SK_OK && pki_cert_fingerprint(pem, print) == SK_OK)
        fprintf(stderr, " \\\n    --ca-fingerprint %s", print);
    free(pem);
    fputc('\n', stderr);
}

int cmd_token_create(int argc, char **argv)
{
    struct options o;
    struct store_token t = {.created = 0};
    char secret[SECRET_LEN];
    int rc = options_parse(&o, argc, argv, "jkuftrn", 0, 0);
    if (rc == CLI_OK)
        rc = describe(&o, &t);
    if (rc == CLI_OK)
        rc = options_store(&o);
    if (rc == CLI_OK)
        rc = make_secret(&t, secret);
    if (rc == CLI_OK)
        rc = keep(&o, &t);
    if (rc == CLI_OK && o.json) {
        json_t *j = row(&t);
        json_object_set_new(j, "secret", json_string(secret));
        show_object(j, true, NULL, 0, 0);
    } else if (rc == CLI_OK) {
        print_token(&o, &t, secret);
    }
    OPENSSL_cleanse(secret, sizeof(secret));
    return options_close(&o, rc);
}

static void add_row(void *rows, const struct store_token *t)
{
    json_array_append_new(rows, row(t));
}

int cmd_token_list(int argc, char **argv)
{
    static const struct show_column columns[] = {
        {"ID", "id", SHOW_TEXT, 0},           {"KIND", "kind", SHOW_TEXT, 0},        {"STATE", "state", SHOW_TEXT, 0},
        {"LEFT", "expires_ms", SHOW_LEFT, 0}, {"USES", "uses_left", SHOW_NUMBER, 0}, {"USED", "used", SHOW_NUMBER, 0},
        {"ROLE", "role", SHOW_TEXT, 0},       {"TAGS", "tags", SHOW_TEXT, 40},       {"NOTE", "note", SHOW_TEXT, 60},
    };
    struct options o;
    int rc = options_open(&o, argc, argv, "j", 0, 0);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    json_t *rows = json_array();
    if (store_tokens(o.store, add_row, rows) != SK_OK) {
        json_decref(rows);
        return options_close(&o, options_store_failed(&o));
    }
    show_rows(rows, o.json, columns, sizeof(columns) / sizeof(columns[0]), options_now(), "there are no tokens");
    return options_close(&o, CLI_OK);
}

int cmd_token_revoke(int argc, char **argv)
{
    struct options o;
    char show[64];
    int rc = options_open(&o, argc, argv, "", 1, 1);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    int err = store_begin(o.store);
    if (err == SK_OK)
        err = store_token_revoke(o.store, o.arg[0]);
    if (err == SK_OK)
        err = store_audit(o.store, options_now(), o.who, "token.revoke", o.arg[0]);
    if (err == SK_OK)
        err = store_commit(o.store);
    else
        store_rollback(o.store);
    if (err == SK_ENOENT)
        rc = cli_fail("no token has the ID '%s'", sk_escape(show, sizeof(show), sk_span_str(o.arg[0])));
    else if (err != SK_OK)
        rc = options_store_failed(&o);
    else
        printf("token %s is revoked\n", o.arg[0]);
    return options_close(&o, rc);
}
