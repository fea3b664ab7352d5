/* The file of regional certificates (pki/instance.h). */
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "certs.h"

#define CERTS_FILE_MAX (1 << 20)
#define LINE_REGION    "# region:"
#define LINE_BEGIN     "-----BEGIN CERTIFICATE-----"
#define LINE_END       "-----END CERTIFICATE-----"

struct scan {
    struct instance_certs *certs;
    char region[sizeof(((struct instance_cert *)0)->region)]; /* "": no line for the next certificate yet */
    const char *begin;                                        /* of the certificate that the lines are in */
};

static bool is_line(const char *s, size_t len, const char *want)
{
    return len == strlen(want) && memcmp(s, want, len) == 0;
}

static int take_region(struct scan *sc, const char *s, size_t len)
{
    while (len > 0 && *s == ' ')
        s++, len--;
    if (len == 0 || len >= sizeof(sc->region) || sc->region[0] != '\0')
        return SK_EINVAL;
    memcpy(sc->region, s, len);
    sc->region[len] = '\0';
    return strspn(sc->region, "abcdefghijklmnopqrstuvwxyz0123456789-") == len ? SK_OK : SK_EINVAL;
}

static int take_cert(struct scan *sc, const char *end)
{
    struct instance_certs *cs = sc->certs;
    if (cs->n == INSTANCE_CERTS_MAX)
        return SK_EFULL;
    char *pem = strndup(sc->begin, (size_t)(end - sc->begin));
    if (pem == NULL)
        return SK_ENOMEM;
    struct instance_cert *c = &cs->v[cs->n];
    int rc = pki_pem_cert(pem, &c->cert);
    free(pem);
    if (rc != SK_OK)
        return rc;
    memcpy(c->region, sc->region, sizeof(c->region));
    sc->region[0] = '\0';
    sc->begin = NULL;
    cs->n++;
    return SK_OK;
}

static int take_line(struct scan *sc, const char *s, size_t len)
{
    size_t head = strlen(LINE_REGION);
    if (sc->begin != NULL)
        return is_line(s, len, LINE_END) ? take_cert(sc, s + len) : SK_OK;
    if (len >= head && memcmp(s, LINE_REGION, head) == 0)
        return take_region(sc, s + head, len - head);
    if (is_line(s, len, LINE_BEGIN) && sc->region[0] != '\0') {
        sc->begin = s;
        return SK_OK;
    }
    return len == 0 || *s == '#' ? SK_OK : SK_EINVAL;
}

static int take_text(struct scan *sc, const char *p, int *line)
{
    int rc = SK_OK;
    for (*line = 1; *p != '\0' && rc == SK_OK; ++*line) {
        size_t len = strcspn(p, "\n"), next = len + (p[len] == '\n');
        while (len > 0 && (p[len - 1] == '\r' || p[len - 1] == ' '))
            len--;
        if ((rc = take_line(sc, p, len)) != SK_OK)
            break;
        p += next;
    }
    return rc == SK_OK && (sc->begin != NULL || sc->region[0] != '\0') ? SK_EINVAL : rc;
}

int instance_certs_open(const char *path, struct instance_certs **out, int *line)
{
    char *text;
    size_t len;
    struct scan sc = {.certs = NULL};
    *out = NULL;
    *line = 0;
    int rc = pki_file_read(path, CERTS_FILE_MAX, false, &text, &len);
    if (rc == SK_OK && (sc.certs = (struct instance_certs *)calloc(1, sizeof(*sc.certs))) == NULL)
        rc = SK_ENOMEM;
    if (rc == SK_OK)
        rc = take_text(&sc, text, line);
    if (rc == SK_OK && sc.certs->n == 0)
        rc = SK_ENOENT;
    free(text);
    if (rc == SK_OK)
        *out = sc.certs;
    else
        instance_certs_free(sc.certs);
    return rc;
}

unsigned instance_certs_count(const struct instance_certs *c)
{
    return c->n;
}

void instance_certs_free(struct instance_certs *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->n; i++)
        X509_free(c->v[i].cert);
    free(c);
}
