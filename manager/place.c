#include "place.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/escape.h"
#include "base/log.h"
#include "base/path.h"
#include "base/strbuf.h"

#define NAMES_TEXT_MAX 8192 /* bytes of a file of names */

/* A certificate's names, cut out of one text. */
struct names {
    const char *v[PKI_NAMES_MAX];
    unsigned n;
    char text[NAMES_TEXT_MAX];
};

const char *place_path(const struct place *p, const char *name, char *buf)
{
    snprintf(buf, PLACE_PATH, "%s/%s", p->dir, name);
    return buf;
}

int place_become_owner(const char *state_dir)
{
    struct stat st;
    if (stat(state_dir, &st) != 0)
        return SK_EIO;
    if (geteuid() != 0 || st.st_uid == 0)
        return SK_OK;
    if (setgroups(0, NULL) != 0 || setresgid(st.st_gid, st.st_gid, st.st_gid) != 0 ||
        setresuid(st.st_uid, st.st_uid, st.st_uid) != 0)
        return SK_EIO;
    return SK_OK;
}

static int fail(char *why, size_t cap, const char *what, int rc)
{
    snprintf(why, cap, "%s: %s", what, rc == SK_EIO && errno != 0 ? strerror(errno) : sk_strerror(rc));
    return rc;
}

/* A folder that others could read would give the CA away. */
static int check_dir(const char *dir, char *why, size_t cap)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return fail(why, cap, dir, SK_EIO);
    if (!S_ISDIR(st.st_mode) || (st.st_mode & 077) != 0) {
        snprintf(why, cap, "%s: must be a folder that only its owner can use (chmod 700)", dir);
        return SK_EPERM;
    }
    return SK_OK;
}

static int read_text(const char *path, bool secret, char **out, char *why, size_t cap);

const char *place_key_text(const uint8_t key[PKI_ED25519_KEY], char *buf)
{
    EVP_EncodeBlock((unsigned char *)buf, key, PKI_ED25519_KEY);
    return buf;
}

/* 44 characters; the last one is padding. */
static bool key_from_text(const char *line, uint8_t key[PKI_ED25519_KEY])
{
    uint8_t out[PKI_ED25519_KEY + 1];
    if (strlen(line) != 44 || line[43] != '=' || line[42] == '=' ||
        EVP_DecodeBlock(out, (const unsigned char *)line, 44) != (int)sizeof(out))
        return false;
    memcpy(key, out, PKI_ED25519_KEY);
    return true;
}

int place_signing_keys(const char *state_dir, uint8_t keys[PLACE_KEYS_MAX][PKI_ED25519_KEY], unsigned *n)
{
    char path[PLACE_PATH], why[256], *text, *rest, *line;
    *n = 0;
    snprintf(path, sizeof(path), "%s/signing.pub", state_dir);
    int rc = read_text(path, false, &text, why, sizeof(why));
    if (rc != SK_OK)
        return rc;
    rest = text;
    while (rc == SK_OK && (line = strsep(&rest, "\n")) != NULL)
        if (line[0] != '\0' && line[0] != '#' && (*n == PLACE_KEYS_MAX || !key_from_text(line, keys[(*n)++])))
            rc = SK_EINVAL;
    free(text);
    return rc;
}

/* What signing.key signs is believed: its public half is in signing.pub. */
static int publish_key(const struct place *p, const uint8_t key[PKI_ED25519_KEY], char *why, size_t cap)
{
    uint8_t keys[PLACE_KEYS_MAX][PKI_ED25519_KEY];
    unsigned n = 0;
    char path[PLACE_PATH], line[48];
    if (access(place_path(p, "signing.pub", path), F_OK) == 0 && place_signing_keys(p->dir, keys, &n) != SK_OK) {
        snprintf(why, cap, "%s: a line is no key, or there are more than %d", path, PLACE_KEYS_MAX);
        return SK_EINVAL;
    }
    for (unsigned i = 0; i < n; i++)
        if (memcmp(keys[i], key, PKI_ED25519_KEY) == 0)
            return SK_OK;
    FILE *f = fopen(path, "ae");
    if (f == NULL)
        return fail(why, cap, path, SK_EIO);
    bool written = fprintf(f, "%s\n", place_key_text(key, line)) > 0 && fflush(f) == 0 && fsync(fileno(f)) == 0;
    return fclose(f) == 0 && written ? SK_OK : fail(why, cap, path, SK_EIO);
}

static int open_signing_key(const struct place *p, char *why, size_t cap)
{
    char path[PLACE_PATH];
    uint8_t secret[PKI_ED25519_KEY], public_key[PKI_ED25519_KEY];
    int rc = pki_sign_key_open(place_path(p, "signing.key", path), p->made, secret, public_key);
    explicit_bzero(secret, sizeof(secret));
    if (rc == SK_ENOENT) /* taken away on purpose: it signs elsewhere */
        return SK_OK;
    return rc == SK_OK ? publish_key(p, public_key, why, cap) : fail(why, cap, path, rc);
}

static int name_dir(const struct settings *s, struct place *out, char *why, size_t cap)
{
    *out = (struct place){.ca = NULL};
    if (strlen(s->state_dir) >= sizeof(out->dir))
        return fail(why, cap, "state-dir", SK_EFULL);
    strcpy(out->dir, s->state_dir);
    return SK_OK;
}

/* The folder is there. */
static int enter(struct place *out, char *why, size_t cap)
{
    char path[PLACE_PATH];
    int rc = check_dir(out->dir, why, cap);
    if (rc != SK_OK)
        return rc;
    rc = place_become_owner(out->dir);
    if (rc != SK_OK)
        return fail(why, cap, out->dir, rc);
    out->made = access(place_path(out, "ca/ca.pem", path), F_OK) != 0;
    return SK_OK;
}

static int open_ca(struct place *out, int64_t now, char *why, size_t cap)
{
    char path[PLACE_PATH];
    errno = 0;
    int rc = pki_ca_open(place_path(out, "ca", path), now, &out->ca);
    return rc == SK_OK ? rc : fail(why, cap, path, rc);
}

int place_open(const struct settings *s, int64_t now, struct place *out, char *why, size_t cap)
{
    int rc = name_dir(s, out, why, cap);
    if (rc == SK_OK && mkdir(out->dir, 0700) != 0 && errno != EEXIST)
        return fail(why, cap, out->dir, SK_EIO);
    if (rc == SK_OK)
        rc = enter(out, why, cap);
    if (rc == SK_OK)
        rc = open_ca(out, now, why, cap);
    return rc == SK_OK ? open_signing_key(out, why, cap) : rc;
}

int place_look(const struct settings *s, int64_t now, struct place *out, char *why, size_t cap)
{
    char path[PLACE_PATH];
    uint8_t keys[PLACE_KEYS_MAX][PKI_ED25519_KEY];
    unsigned n;
    int rc = name_dir(s, out, why, cap);
    if (rc == SK_OK && access(out->dir, F_OK) != 0 && errno == ENOENT)
        return sk_path_makeable(out->dir, why, cap) == SK_OK ? SK_ENOENT : SK_EIO;
    if (rc == SK_OK)
        rc = enter(out, why, cap);
    if (rc == SK_OK && out->made)
        return errno == ENOENT ? SK_ENOENT : fail(why, cap, out->dir, SK_EIO);
    if (rc == SK_OK)
        rc = open_ca(out, now, why, cap);
    if (rc == SK_OK && access(place_path(out, "signing.pub", path), F_OK) == 0 &&
        (rc = place_signing_keys(out->dir, keys, &n)) != SK_OK)
        fail(why, cap, path, rc);
    return rc;
}

void place_close(struct place *p)
{
    pki_ca_free(p->ca);
    p->ca = NULL;
}

/* ---- the server's names ---- */

static void names_cut(struct names *n)
{
    char *rest = n->text, *line;
    n->n = 0;
    while ((line = strsep(&rest, "\n")) != NULL)
        if (line[0] != '\0' && n->n < PKI_NAMES_MAX)
            n->v[n->n++] = line;
}

static void names_take(struct names *n, const char *const *v, unsigned count)
{
    size_t used = 0;
    for (unsigned i = 0; i < count && used < sizeof(n->text); i++)
        used += (size_t)snprintf(n->text + used, sizeof(n->text) - used, "%s\n", v[i]);
    names_cut(n);
}

static int names_read(const struct place *p, struct names *n)
{
    char path[PLACE_PATH], *text;
    int rc = pki_secret_read(place_path(p, "names", path), &text);
    if (rc != SK_OK)
        return rc;
    snprintf(n->text, sizeof(n->text), "%s", text);
    pki_wipe(text);
    names_cut(n);
    return n->n > 0 ? SK_OK : SK_ENOENT;
}

static bool usable(const struct ifaddrs *a)
{
    if (a->ifa_addr == NULL || (a->ifa_flags & IFF_UP) == 0)
        return false;
    if (a->ifa_addr->sa_family == AF_INET)
        return true;
    return a->ifa_addr->sa_family == AF_INET6 &&
           !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr);
}

/* This host's name and addresses. */
static void names_of_host(struct names *n)
{
    struct ifaddrs *all;
    char host[256] = "", addr[INET6_ADDRSTRLEN];
    size_t used = 0;
    if (gethostname(host, sizeof(host) - 1) == 0 && host[0] != '\0')
        used = (size_t)snprintf(n->text, sizeof(n->text), "%s\n", host);
    n->text[used] = '\0';
    if (getifaddrs(&all) == 0) {
        for (const struct ifaddrs *a = all; a != NULL; a = a->ifa_next) {
            if (!usable(a))
                continue;
            const void *bytes =
                a->ifa_addr->sa_family == AF_INET
                    ? (const void *)&((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr
                    : (const void *)&((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr;
            if (inet_ntop(a->ifa_addr->sa_family, bytes, addr, sizeof(addr)) != NULL && used + 64 < sizeof(n->text))
                used += (size_t)snprintf(n->text + used, sizeof(n->text) - used, "%s\n", addr);
        }
        freeifaddrs(all);
    }
    names_cut(n);
}

static int names_find(const struct place *p, const struct settings *s, struct names *n)
{
    if (s->names.n > 0)
        names_take(n, s->names.v, s->names.n);
    else if (names_read(p, n) != SK_OK)
        names_of_host(n);
    return n->n > 0 ? SK_OK : SK_ENOENT;
}

const char *place_url(const struct settings *s, char *buf, size_t cap)
{
    struct place p = {.ca = NULL};
    struct names *n = calloc(1, sizeof(*n));
    const char *port = strrchr(s->listen, ':');
    snprintf(p.dir, sizeof(p.dir), "%s", s->state_dir);
    const char *name = n != NULL && names_find(&p, s, n) == SK_OK ? n->v[0] : "THIS-MANAGER";
    bool v6 = strchr(name, ':') != NULL;
    snprintf(buf, cap, "https://%s%s%s%s", v6 ? "[" : "", name, v6 ? "]" : "", port != NULL ? port : "");
    free(n);
    return buf;
}

/* ---- the server's certificate ---- */

/* What server.pem was made for: CA and names. Another text, another certificate. */
static char *purpose(const struct place *p, const struct names *n)
{
    struct sk_strbuf b;
    char print[65];
    if (pki_cert_fingerprint(pki_ca_pem(p->ca), print) != SK_OK)
        return NULL;
    sk_strbuf_init(&b, 2 * NAMES_TEXT_MAX);
    sk_strbuf_printf(&b, "ca %s\n", print);
    for (unsigned i = 0; i < n->n; i++)
        sk_strbuf_printf(&b, "%s\n", n->v[i]);
    return b.p; /* the caller frees it */
}

static bool same_text(const char *path, const char *want)
{
    char *text;
    if (pki_secret_read(path, &text) != SK_OK)
        return false;
    bool same = strcmp(text, want) == 0;
    pki_wipe(text);
    return same;
}

/* There is a certificate, it is the key's, and it lasts. */
static bool server_good(const struct place *p, int64_t now)
{
    char path[PLACE_PATH], *cert = NULL, *key = NULL;
    bool good = pki_secret_read(place_path(p, "server.pem", path), &cert) == SK_OK &&
                pki_secret_read(place_path(p, "server.key", path), &key) == SK_OK &&
                pki_cert_fits(cert, key) == SK_OK && !place_server_due(p, now);
    pki_wipe(cert);
    pki_wipe(key);
    return good;
}

bool place_server_due(const struct place *p, int64_t now)
{
    char path[PLACE_PATH], *cert;
    struct pki_cert c;
    if (pki_secret_read(place_path(p, "server.pem", path), &cert) != SK_OK)
        return true;
    bool due = pki_cert_read(cert, &c) != SK_OK || now > c.not_before + (c.not_after - c.not_before) / 3 * 2;
    pki_wipe(cert);
    return due;
}

static int make_server(const struct place *p, const struct names *n, const char *text, int64_t now, char *why,
                       size_t cap)
{
    char path[PLACE_PATH], *key = NULL, *cert = NULL;
    int rc = pki_ca_server(p->ca, n->v, n->n, now, PLACE_SERVER_FOR, &key, &cert);
    if (rc != SK_OK) {
        snprintf(why, cap, "no certificate for these names: %s", sk_strerror(rc));
        return rc;
    }
    /* Key before certificate: when only one is written they do not fit, and are made again. */
    errno = 0;
    rc = pki_secret_write(place_path(p, "server.key", path), key, true);
    if (rc == SK_OK)
        rc = pki_secret_write(place_path(p, "server.pem", path), cert, true);
    if (rc == SK_OK)
        rc = pki_secret_write(place_path(p, "server.names", path), text, true);
    if (rc != SK_OK)
        fail(why, cap, path, rc);
    pki_wipe(key);
    free(cert);
    return rc;
}

static int remember(const struct place *p, const struct names *n, char *why, size_t cap)
{
    char path[PLACE_PATH], text[NAMES_TEXT_MAX + 64];
    size_t used = 0;
    for (unsigned i = 0; i < n->n; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\n", n->v[i]);
    errno = 0;
    int rc = pki_secret_write(place_path(p, "names", path), text, true);
    return rc == SK_OK ? rc : fail(why, cap, path, rc);
}

int place_server(const struct place *p, const struct settings *s, const char *const *names, unsigned n, int64_t now,
                 char *why, size_t cap)
{
    struct names *all = calloc(1, sizeof(*all));
    char path[PLACE_PATH], *text = NULL;
    int rc = all != NULL ? SK_OK : SK_ENOMEM;
    if (rc == SK_OK && n > 0) {
        names_take(all, names, n);
        rc = remember(p, all, why, cap);
    } else if (rc == SK_OK) {
        rc = names_find(p, s, all);
    }
    if (rc == SK_OK && (text = purpose(p, all)) == NULL)
        rc = SK_ENOMEM;
    if (rc == SK_OK && (!same_text(place_path(p, "server.names", path), text) || !server_good(p, now)))
        rc = make_server(p, all, text, now, why, cap);
    else if (rc != SK_OK && why[0] == '\0')
        fail(why, cap, "names of this manager", rc);
    free(text);
    free(all);
    return rc;
}

static int read_text(const char *path, bool secret, char **out, char *why, size_t cap)
{
    FILE *f;
    if (secret) {
        errno = 0;
        int rc = pki_secret_read(path, out);
        if (rc == SK_EPERM)
            snprintf(why, cap, "%s: others may read it (chmod 600)", path);
        return rc == SK_OK ? rc : rc == SK_EPERM ? rc : fail(why, cap, path, rc);
    }
    *out = calloc(1, PKI_PEM_MAX + 1);
    if (*out == NULL)
        return SK_ENOMEM;
    f = fopen(path, "re");
    size_t n = f != NULL ? fread(*out, 1, PKI_PEM_MAX, f) : 0;
    int rc = f == NULL ? SK_EIO : n == 0 ? SK_EINVAL : SK_OK;
    if (rc != SK_OK) {
        fail(why, cap, path, rc);
        free(*out);
        *out = NULL;
    }
    if (f != NULL)
        fclose(f);
    return rc;
}

int place_ca_pem(const char *state_dir, char **pem)
{
    char path[PLACE_PATH], why[256];
    snprintf(path, sizeof(path), "%s/ca/ca.pem", state_dir);
    int rc = read_text(path, false, pem, why, sizeof(why));
    if (rc != SK_OK)
        *pem = NULL;
    return rc;
}

/* Ours goes out with the CA behind it: who enrols compares that one's fingerprint. */
static int add_ca(const struct place *p, char **cert)
{
    char *both = NULL;
    if (asprintf(&both, "%s%s", *cert, pki_ca_pem(p->ca)) < 0)
        return SK_ENOMEM;
    free(*cert);
    *cert = both;
    return SK_OK;
}

int place_certificate(const struct place *p, const struct settings *s, char **cert, char **key, char *why, size_t cap)
{
    char a[PLACE_PATH], b[PLACE_PATH];
    bool own = s->certificate[0] != '\0';
    *cert = *key = NULL;
    int rc = read_text(own ? s->certificate : place_path(p, "server.pem", a), false, cert, why, cap);
    if (rc == SK_OK)
        rc = read_text(own ? s->key : place_path(p, "server.key", b), true, key, why, cap);
    if (rc == SK_OK && !own)
        rc = add_ca(p, cert);
    if (rc == SK_OK && pki_cert_fits(*cert, *key) != SK_OK) {
        snprintf(why, cap, "certificate and key do not belong together");
        rc = SK_EINVAL;
    }
    if (rc == SK_OK)
        return rc;
    free(*cert);
    pki_wipe(*key);
    *cert = *key = NULL;
    return rc;
}
