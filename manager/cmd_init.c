/* `init`, `ca show`. */
#include <stdlib.h>
#include "base/clock.h"
#include "cli.h"
#include "options.h"
#include "place.h"

static int open_store(struct options *o)
{
    char where[4200], why[256];
    if (store_open(options_store_where(o->settings, where), &o->store, why, sizeof(why)) != SK_OK)
        return cli_fail("the database does not open: %s", why);
    return CLI_OK;
}

static int make(struct options *o, struct place *p)
{
    char why[512] = "";
    if (place_open(o->settings, sk_now_wall(), p, why, sizeof(why)) != SK_OK ||
        (o->settings->certificate[0] == '\0' &&
         place_server(p, o->settings, o->name, o->nname, sk_now_wall(), why, sizeof(why)) != SK_OK))
        return cli_fail("%s", why);
    return open_store(o);
}

static void print_next(const struct options *o, const struct place *p, const char *print)
{
    char url[512];
    printf("manager:        %s\nstate:          %s\ndatabase:       %s\nCA fingerprint: %s\n\n",
           p->made ? "made" : "was there already", p->dir, store_kind(o->store), print);
    printf("Start it:       sekisho-manager run%s%s\n", o->conf != NULL ? " -c " : "", o->conf != NULL ? o->conf : "");
    printf("Make a token:   sekisho-manager token create%s%s --uses 10\n", o->conf != NULL ? " -c " : "",
           o->conf != NULL ? o->conf : "");
    printf("On each host:   sekisho enroll --manager %s --token-file FILE \\\n"
           "                  --ca-fingerprint %s\n",
           place_url(o->settings, url, sizeof(url)), print);
}

int cmd_init(int argc, char **argv)
{
    struct options o;
    struct place p = {.ca = NULL};
    char print[65];
    int rc = options_parse(&o, argc, argv, "N", 0, 0);
    if (rc == CLI_OK)
        rc = options_settings(&o);
    if (rc == CLI_OK)
        rc = make(&o, &p);
    if (rc == CLI_OK && pki_cert_fingerprint(pki_ca_pem(p.ca), print) == SK_OK)
        print_next(&o, &p, print);
    place_close(&p);
    return options_close(&o, rc);
}

int cmd_ca_show(int argc, char **argv)
{
    struct options o;
    struct pki_cert c;
    char print[65], from[40], to[40], *pem = NULL;
    int rc = options_parse(&o, argc, argv, "P", 0, 0);
    if (rc == CLI_OK)
        rc = options_settings(&o);
    if (rc == CLI_OK && place_ca_pem(o.settings->state_dir, &pem) != SK_OK)
        rc = cli_fail("%s/ca/ca.pem cannot be read; `sekisho-manager init` makes it", o.settings->state_dir);
    if (rc == CLI_OK && o.pem) {
        fputs(pem, stdout);
    } else if (rc == CLI_OK) {
        if (pki_cert_read(pem, &c) != SK_OK || pki_cert_fingerprint(pem, print) != SK_OK)
            rc = cli_fail("%s/ca/ca.pem is no certificate", o.settings->state_dir);
        else
            printf("fingerprint (SHA-256)  %s\nvalid                  %.10s to %.10s\n", print,
                   sk_time_format(c.not_before, from), sk_time_format(c.not_after, to));
    }
    free(pem);
    return options_close(&o, rc);
}
