#include "report/probe.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "fetch/fetch.h"
#include "pki/pki.h"

#define PATH_CAP 4400
#define PEM_MAX  65536

static void path_of(const char *dir, const char *name, char buf[PATH_CAP])
{
    snprintf(buf, PATH_CAP, "%.4200s/%s", dir, name);
}

/* The caller's (free); NULL with errno. */
static char *read_pem(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = f != NULL ? (char *)calloc(1, PEM_MAX + 1) : NULL;
    if (text != NULL)
        text[fread(text, 1, PEM_MAX, f)] = '\0';
    if (f != NULL)
        fclose(f);
    return text;
}

static int read_agent(const char *dir, struct probe *p)
{
    char path[PATH_CAP];
    path_of(dir, "agent.json", path);
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return SK_ENOENT;
    json_t *o = json_load_file(path, 0, NULL);
    const char *url = json_string_value(json_object_get(o, "manager"));
    bool good = url != NULL && strncmp(url, "https://", 8) == 0 && strlen(url) < sizeof(p->url);
    if (good)
        snprintf(p->url, sizeof(p->url), "%s", url);
    else
        snprintf(p->why, sizeof(p->why), "%.400s does not name the manager", path);
    json_decref(o);
    return good ? SK_OK : SK_EINVAL;
}

static bool key_is_ours(const char *dir, const char *cert)
{
    char path[PATH_CAP];
    struct stat st;
    path_of(dir, "key.pem", path);
    char *key = stat(path, &st) == 0 && (st.st_mode & 077) == 0 ? read_pem(path) : NULL;
    bool fits = key != NULL && pki_cert_fits(cert, key) == SK_OK;
    if (key != NULL)
        OPENSSL_cleanse(key, strlen(key));
    free(key);
    return fits;
}

static int read_certificate(const char *dir, struct probe *p)
{
    char path[PATH_CAP];
    struct pki_cert c;
    path_of(dir, "cert.pem", path);
    char *text = read_pem(path);
    int rc = text != NULL && pki_cert_read(text, &c) == SK_OK ? SK_OK : SK_EINVAL;
    if (rc != SK_OK) {
        snprintf(p->why, sizeof(p->why), "%.400s is no certificate", path);
    } else {
        snprintf(p->agent, sizeof(p->agent), "%s", c.agent);
        p->not_before = c.not_before;
        p->not_after = c.not_after;
        p->key_fits = key_is_ours(dir, text);
    }
    free(text);
    return rc;
}

static void ask(const char *dir, int timeout_ms, struct probe *p)
{
    char ca[PATH_CAP], url[300];
    path_of(dir, "ca.pem", ca);
    size_t n = strlen(p->url);
    while (n > 0 && p->url[n - 1] == '/')
        n--;
    snprintf(url, sizeof(url), "%.*s/healthz", (int)n, p->url);
    const struct fetch_tls tls = {.ca_file = access(ca, F_OK) == 0 ? ca : NULL};
    const struct fetch_request q = {.method = "GET", .url = url, .tls = &tls, .timeout_ms = timeout_ms};
    struct fetch_response r;
    int64_t began = sk_now_wall();
    (void)!fetch_do(&q, &r);
    p->asked = began + (sk_now_wall() - began) / 2;
    p->date = r.date;
    p->outcome = r.result == FETCH_TLS        ? PROBE_UNTRUSTED
                 : r.result != FETCH_ANSWERED ? PROBE_SILENT
                 : r.status == 200            ? PROBE_ANSWERS
                                              : PROBE_SICK;
    if (p->outcome == PROBE_SICK)
        snprintf(p->why, sizeof(p->why), "it answers with status %d", r.status);
    else
        snprintf(p->why, sizeof(p->why), "%s", r.text);
    fetch_response_free(&r);
}

int probe_manager(const char *dir, int timeout_ms, struct probe *out)
{
    *out = (struct probe){.outcome = PROBE_SILENT};
    int rc = fetch_init() == SK_OK ? read_agent(dir, out) : SK_ENOMEM;
    if (rc == SK_OK)
        rc = read_certificate(dir, out);
    if (rc != SK_OK)
        return rc;
    ask(dir, timeout_ms, out);
    fetch_thread_end();
    return SK_OK;
}
