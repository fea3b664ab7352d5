#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inputs.h"

static char *read_all(int fd, size_t max, size_t *len)
{
    size_t cap = 65536, n = 0;
    char *buf = malloc(cap + 1);
    while (buf) {
        if (n == cap) {
            if (cap >= max) {
                errno = EFBIG;
                break;
            }
            cap *= 2;
            char *p = realloc(buf, cap + 1);
            if (!p)
                break;
            buf = p;
        }
        ssize_t r = read(fd, buf + n, cap - n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            break;
        if (r == 0) {
            buf[n] = '\0';
            *len = n;
            return buf;
        }
        n += (size_t)r;
    }
    free(buf);
    return NULL;
}

static char *read_path(const char *path, bool regular_only, size_t max, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (regular_only ? O_NONBLOCK : 0));
    if (fd < 0)
        return NULL;
    struct stat st;
    char *text = NULL;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        errno = EISDIR;
    else if (regular_only && !S_ISREG(st.st_mode))
        errno = ENOTSUP;
    else
        text = read_all(fd, max, len);
    int saved = errno;
    close(fd);
    errno = saved;
    return text;
}

char *inputs_read_file(const char *path, size_t max, size_t *len)
{
    return read_path(path, false, max, len);
}

char *inputs_read_regular(const char *path, size_t max, size_t *len)
{
    return read_path(path, true, max, len);
}

const char *inputs_strerror(int err)
{
    return err == ENOTSUP ? "not a regular file" : strerror(err);
}

static int add_file(struct inputs *in, int kind, const char *path, const struct sk_diag_sink *diag)
{
    if (in->n == INPUTS_MAX_FILES) {
        sk_diag(diag, SK_DIAG_ERROR, path, 0, 0, "more than %d rule files", INPUTS_MAX_FILES);
        return SK_EFULL;
    }
    if (in->n == in->cap) {
        unsigned cap = in->cap ? 2 * in->cap : 16;
        struct engine_text *v = realloc(in->v, cap * sizeof *v);
        if (!v)
            return SK_ENOMEM;
        in->v = v;
        in->cap = cap;
    }
    size_t len = 0;
    char *text = read_path(path, in->regular_only, INPUTS_MAX_FILE, &len);
    if (!text) {
        sk_diag(diag, SK_DIAG_ERROR, path, 0, 0, "cannot read: %s", inputs_strerror(errno));
        return SK_EIO;
    }
    if (len > INPUTS_MAX_TOTAL - in->total) {
        sk_diag(diag, SK_DIAG_ERROR, path, 0, 0, "more than %u MiB of rules", INPUTS_MAX_TOTAL >> 20);
        free(text);
        return SK_EFULL;
    }
    in->total += len;
    char *name = strdup(path);
    if (!name) {
        free(text);
        return SK_ENOMEM;
    }
    in->v[in->n++] = (struct engine_text){.kind = kind, .name = name, .text = text, .len = len};
    return SK_OK;
}

static int add_pattern(struct inputs *in, const char *pattern, bool given, const struct sk_diag_sink *diag)
{
    if (!strpbrk(pattern, "*?["))
        return add_file(in, ENGINE_RULES, pattern, diag);
    glob_t g;
    int rc = glob(pattern, 0, NULL, &g);
    if (rc == GLOB_NOMATCH) {
        sk_diag(diag, given ? SK_DIAG_ERROR : SK_DIAG_WARN, pattern, 0, 0, "no file matches");
        return given ? SK_ENOENT : SK_OK;
    }
    if (rc != 0)
        return SK_EIO;
    rc = SK_OK;
    for (size_t i = 0; rc == SK_OK && i < g.gl_pathc; i++)
        rc = add_file(in, ENGINE_RULES, g.gl_pathv[i], diag);
    globfree(&g);
    return rc;
}

int inputs_read(struct inputs *in, const struct conf *conf, const char *const *rules, unsigned nrules,
                const struct sk_diag_sink *diag)
{
    int rc = SK_OK;
    if (conf->classification_file[0])
        rc = add_file(in, ENGINE_CLASSES, conf->classification_file, diag);
    for (unsigned i = 0; rc == SK_OK && i < nrules; i++)
        rc = add_pattern(in, rules[i], true, diag);
    for (unsigned i = 0; rc == SK_OK && nrules == 0 && i < conf->rule_files.n; i++)
        rc = add_pattern(in, conf->rule_files.v[i], false, diag);
    if (rc == SK_OK && conf->threshold_file[0])
        rc = add_file(in, ENGINE_THRESHOLDS, conf->threshold_file, diag);
    return rc;
}

void inputs_free(struct inputs *in)
{
    for (unsigned i = 0; i < in->n; i++) {
        free((void *)in->v[i].name);
        free((void *)in->v[i].text);
    }
    free(in->v);
    *in = (struct inputs){0};
}
