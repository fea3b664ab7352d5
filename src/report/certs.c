#include "certs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CA_FILE_MAX (64u << 10) /* bytes of ca.pem; further CAs are not added */

/* A file of certificates, not secret. *text is the caller's (free). */
static int read_file(const char *path, char **text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? SK_ENOENT : errno == EACCES ? SK_EPERM : SK_EIO;
    char *buf = (char *)malloc(CA_FILE_MAX + 1);
    ssize_t n = buf != NULL ? read(fd, buf, CA_FILE_MAX + 1) : -1;
    close(fd);
    if (n <= 0 || n > (ssize_t)CA_FILE_MAX || memchr(buf, '\0', (size_t)n) != NULL) {
        free(buf);
        return n < 0 ? SK_EIO : SK_EINVAL;
    }
    buf[n] = '\0';
    *text = buf;
    return SK_OK;
}

static bool key_fits(const char *path, const char *cert_pem)
{
    char *key = NULL;
    bool ok = pki_secret_read(path, &key) == SK_OK && pki_cert_fits(cert_pem, key) == SK_OK;
    pki_wipe(key);
    return ok;
}

static int read_cert(struct certs *c, char **pem)
{
    int rc = read_file(c->cert, pem);
    if (rc != SK_OK)
        return rc;
    rc = pki_cert_read(*pem, &c->now);
    if (rc == SK_OK && c->now.agent[0] == '\0')
        rc = SK_EINVAL;
    return rc;
}

/* Finishes a renewal that was interrupted, or clears away what is left of one. */
static int settle(struct certs *c, const char *cert_pem)
{
    bool ok = key_fits(c->key, cert_pem);
    if (!ok && key_fits(c->new_key, cert_pem))
        ok = rename(c->new_key, c->key) == 0;
    if (ok) {
        (void)unlink(c->new_key);
        (void)unlink(c->new_cert);
    }
    return ok ? SK_OK : SK_EINVAL;
}

static int check_modes(const struct certs *c)
{
    struct stat st;
    if (stat(c->key, &st) != 0)
        return errno == ENOENT ? SK_ENOENT : SK_EPERM;
    return (st.st_mode & 077) != 0 ? SK_EPERM : SK_OK;
}

static int set_paths(struct certs *c, const char *dir)
{
    static const char *const names[] = {"key.pem", "cert.pem", "ca.pem", "key.pem.new", "cert.pem.new"};
    char *const to[] = {c->key, c->cert, c->ca, c->new_key, c->new_cert};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if ((size_t)snprintf(to[i], CERTS_PATH, "%s/%s", dir, names[i]) >= CERTS_PATH)
            return SK_EINVAL;
    return SK_OK;
}

static int explain(const struct certs *c, int rc, char *why, size_t cap)
{
    if (rc == SK_ENOENT)
        snprintf(why, cap, "this host has not enrolled: run `sekisho enroll`");
    else if (rc == SK_EPERM)
        snprintf(why, cap, "%s must belong to the uplink's user and nobody else may read it (mode 0600)", c->key);
    else if (rc == SK_EINVAL)
        snprintf(why, cap, "%s and %s do not fit each other: run `sekisho enroll --again`", c->cert, c->key);
    else
        snprintf(why, cap, "%s: %s", c->cert, strerror(errno));
    return rc;
}

int certs_open(const char *dir, struct certs *c, char *why, size_t cap)
{
    char *pem = NULL;
    memset(c, 0, sizeof(*c));
    int rc = set_paths(c, dir);
    if (rc == SK_OK)
        rc = check_modes(c);
    if (rc == SK_OK)
        rc = read_cert(c, &pem);
    if (rc == SK_OK)
        rc = settle(c, pem);
    free(pem);
    if (rc != SK_OK)
        return explain(c, rc, why, cap);
    c->tls = (struct fetch_tls){
        .cert_file = c->cert, .key_file = c->key, .ca_file = access(c->ca, F_OK) == 0 ? c->ca : NULL};
    return SK_OK;
}

int certs_request(struct certs *c, char **csr)
{
    char *key = NULL;
    *csr = NULL;
    int rc = pki_key_make(&key);
    if (rc == SK_OK)
        rc = pki_secret_write(c->new_key, key, true);
    if (rc == SK_OK)
        rc = pki_csr_make(key, c->now.agent, csr);
    pki_wipe(key);
    return rc;
}

/* A CA that takes over from another: both count from now on. */
static int add_ca(struct certs *c, const char *ca)
{
    char *have = NULL, *both = NULL;
    struct pki_cert cert;
    int rc = pki_cert_read(ca, &cert) == SK_OK ? read_file(c->ca, &have) : SK_EPROTO;
    if (rc == SK_OK && strstr(have, ca) == NULL && strlen(have) + strlen(ca) + 1 < CA_FILE_MAX) {
        rc = asprintf(&both, "%s%s%s", have, have[strlen(have) - 1] == '\n' ? "" : "\n", ca) > 0 ? SK_OK : SK_ENOMEM;
        if (rc == SK_OK)
            rc = pki_secret_write(c->ca, both, true);
    }
    free(have);
    free(both);
    return rc == SK_ENOENT ? SK_OK : rc; /* the system's CAs count */
}

int certs_take(struct certs *c, const char *certificate, const char *ca)
{
    struct pki_cert cert;
    if (pki_cert_read(certificate, &cert) != SK_OK || strcmp(cert.agent, c->now.agent) != 0 ||
        !key_fits(c->new_key, certificate))
        return SK_EPROTO;
    int rc = pki_secret_write(c->new_cert, certificate, true);
    if (rc == SK_OK)
        rc = add_ca(c, ca);
    if (rc == SK_OK && (rename(c->new_cert, c->cert) != 0 || rename(c->new_key, c->key) != 0))
        rc = SK_EIO;
    if (rc != SK_OK)
        return rc;
    int fd = open(c->cert, O_RDONLY | O_CLOEXEC); /* before the new one is shown: the old one is refused from then on */
    char dir[CERTS_PATH];
    snprintf(dir, sizeof(dir), "%s", c->cert);
    *strrchr(dir, '/') = '\0';
    int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || folder < 0 || fsync(fd) != 0 || fsync(folder) != 0)
        rc = SK_EIO;
    if (fd >= 0)
        close(fd);
    if (folder >= 0)
        close(folder);
    c->now = cert;
    return rc;
}
