/* `check`: would `run` start? As it does, but nothing is made, changed or served. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "cli.h"
#include "options.h"
#include "output/output.h"
#include "pki/instance.h"
#include "place.h"

/* What was found; what would keep `run` from starting is counted, and said on standard error. */
struct check {
    const struct settings *s;
    unsigned bad;
    bool nothing; /* there is no state folder */
};

static void say(const char *what, const char *found)
{
    printf("%-14s %s\n", what, found);
}

static void refuse(struct check *c, const char *what, const char *why)
{
    c->bad++;
    (void)cli_fail("%s: %s", what, why);
}

static void look_at_place(struct check *c, struct place *p)
{
    char why[512] = "";
    int rc = place_look(c->s, sk_now_wall(), p, why, sizeof(why));
    c->nothing = rc == SK_ENOENT;
    if (c->nothing)
        say("state folder", "nothing is there yet: `run` and `init` make it");
    else if (rc != SK_OK)
        refuse(c, "the state folder", why);
    else
        say("state folder", p->dir);
}

/* Only one's own: the manager's CA makes another in place of what it cannot use. */
static void look_at_certificate(struct check *c, const struct place *p)
{
    char why[512] = "", *cert, *key;
    if (c->s->certificate[0] == '\0')
        return;
    if (place_certificate(p, c->s, &cert, &key, why, sizeof(why)) != SK_OK)
        refuse(c, "the server's certificate", why);
    else
        say("certificate", c->s->certificate);
    free(cert);
    pki_wipe(key);
}

static void look_at_identity(struct check *c)
{
    struct instance_certs *certs = NULL;
    const char *path = c->s->identity.certificates;
    char why[64];
    int line = 0;
    if (path[0] == '\0')
        return;
    int rc = instance_certs_open(path, &certs, &line);
    snprintf(why, sizeof(why), "line %d: %s", line, sk_strerror(rc));
    if (rc != SK_OK)
        refuse(c, path, why);
    else
        say("identity", path);
    instance_certs_free(certs);
}

static void look_at_outputs(struct check *c)
{
    char why[512] = "", found[32];
    if (output_check(c->s->outputs, c->s->noutputs, why, sizeof(why)) != SK_OK)
        refuse(c, "the outputs", why);
    else {
        snprintf(found, sizeof(found), "%" PRIu32, c->s->noutputs);
        say("outputs", found);
    }
}

static void look_at_database(struct check *c)
{
    char where[PLACE_PATH], why[256] = "", found[128];
    int64_t version, known;
    int rc = store_look(options_store_where(c->s, where), &version, &known, why, sizeof(why));
    if (rc == SK_ENOENT || (rc == SK_OK && version == 0) || (c->nothing && c->s->store[0] == '\0'))
        say("database", "is made when it is first opened");
    else if (rc == SK_OK && version > known) {
        snprintf(why, sizeof(why), "it is of version %" PRId64 ", and this program knows %" PRId64, version, known);
        refuse(c, "the database", why);
    } else if (rc == SK_OK) {
        snprintf(found, sizeof(found), "of version %" PRId64 "%s", version, version < known ? ", to be migrated" : "");
        say("database", found);
    } else if (rc == SK_EIO && strncmp(where, "sqlite:", 7) != 0) {
        printf("%-14s does not answer now: %s\n", "database", why);
    } else {
        refuse(c, "the database does not open", why);
    }
}

int cmd_check(int argc, char **argv)
{
    struct options o;
    struct place p = {.ca = NULL};
    int rc = options_parse(&o, argc, argv, "", 0, 0);
    if (rc == CLI_OK)
        rc = options_settings(&o);
    if (rc == CLI_OK) {
        struct check c = {.s = o.settings};
        look_at_place(&c, &p);
        look_at_certificate(&c, &p);
        look_at_identity(&c);
        look_at_outputs(&c);
        look_at_database(&c);
        rc = c.bad == 0 ? CLI_OK : CLI_FAILED;
    }
    if (rc == CLI_OK)
        say("version", SK_VERSION " would start");
    else if (rc == CLI_FAILED)
        (void)cli_fail("version " SK_VERSION " would not start");
    place_close(&p);
    return options_close(&o, rc);
}
