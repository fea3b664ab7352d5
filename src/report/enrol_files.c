/* What enrolment writes: all of it beside its place first. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "enrol_priv.h"

#define KEYS_FILE "signing-keys"
#define CA_MAX    65536

int enrol_fail(struct enrolment *e, int rc, const char *fmt, ...)
{
    va_list ap;
    e->r->outcome = ENROL_FAILED;
    va_start(ap, fmt);
    vsnprintf(e->r->why, sizeof(e->r->why), fmt, ap);
    va_end(ap);
    return rc;
}

int enrol_fail_as(struct enrolment *e, enum enrol_outcome as, int rc, const char *fmt, ...)
{
    va_list ap;
    e->r->outcome = as;
    va_start(ap, fmt);
    vsnprintf(e->r->why, sizeof(e->r->why), fmt, ap);
    va_end(ap);
    return rc;
}

/* A folder of plain files, and nothing below it. */
static void remove_folder(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;)
        if (strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0)
            (void)unlinkat(dirfd(d), f->d_name, 0);
    if (d != NULL)
        closedir(d);
    (void)rmdir(path);
}

static void parent_of(const char *path, char *buf, size_t cap)
{
    snprintf(buf, cap, "%s", path);
    char *slash = strrchr(buf, '/');
    if (slash == NULL)
        snprintf(buf, cap, ".");
    else
        slash[slash == buf] = '\0';
}

/* Parents that are missing, as mkdir -p. */
static int make_parents(const char *path)
{
    char buf[ENROL_PATH];
    snprintf(buf, sizeof(buf), "%s", path);
    for (char *p = strchr(buf + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        if (mkdir(buf, 0711) != 0 && errno != EEXIST)
            return SK_EIO;
        *p = '/';
    }
    return SK_OK;
}

/* The uplink's user must get through to its folder. The agent's own state folder is opened for that, other people's
 * folders are not touched. */
static int open_way(struct enrolment *e)
{
    char parent[ENROL_PATH];
    struct stat st;
    parent_of(e->o->dir, parent, sizeof(parent));
    if (stat(parent, &st) != 0)
        return enrol_fail(e, SK_EIO, "%s: %s", parent, strerror(errno));
    if (st.st_uid == e->o->uid || (st.st_mode & 01) != 0)
        return SK_OK;
    if (strcmp(parent, e->o->guard_dir) == 0 && chmod(parent, (st.st_mode & 07777) | 011) == 0)
        return SK_OK;
    return enrol_fail(e, SK_EPERM, "%s must let the uplink's user through: chmod o+x %s", parent, parent);
}

int enrol_stage(struct enrolment *e)
{
    if ((size_t)snprintf(e->stage, sizeof(e->stage), "%s.enrol", e->o->dir) >= sizeof(e->stage) ||
        (size_t)snprintf(e->old, sizeof(e->old), "%s.old", e->o->dir) >= sizeof(e->old))
        return enrol_fail(e, SK_EINVAL, "the path of manager.state-dir is too long");
    if (make_parents(e->o->dir) != SK_OK)
        return enrol_fail(e, SK_EIO, "%s: %s", e->o->dir, strerror(errno));
    int rc = open_way(e);
    if (rc != SK_OK)
        return rc;
    remove_folder(e->stage); /* of one that was interrupted */
    remove_folder(e->old);
    if (mkdir(e->stage, 0700) != 0)
        return enrol_fail(e, SK_EIO, "%s: %s", e->stage, strerror(errno));
    return SK_OK;
}

int enrol_write(struct enrolment *e, const char *name, const char *text)
{
    char path[ENROL_PATH + 64];
    snprintf(path, sizeof(path), "%s/%s", e->stage, name);
    if (pki_secret_write(path, text, true) != SK_OK)
        return enrol_fail(e, SK_EIO, "%s: %s", path, strerror(errno));
    return SK_OK;
}

int enrol_take_pem(struct enrolment *e, const char *name, const char *text)
{
    struct pki_cert cert;
    if (pki_cert_read(text, &cert) != SK_OK)
        return enrol_fail(e, SK_EINVAL, "%s holds no certificate in PEM", name);
    int rc = enrol_write(e, "ca.pem", text);
    e->has_ca = rc == SK_OK;
    return rc;
}

int enrol_read_ca(struct enrolment *e)
{
    FILE *f = fopen(e->o->ca_file, "re");
    if (f == NULL)
        return enrol_fail(e, SK_ENOENT, "%s: %s", e->o->ca_file, strerror(errno));
    char *text = (char *)calloc(1, CA_MAX + 1);
    size_t n = text != NULL ? fread(text, 1, CA_MAX, f) : 0;
    fclose(f);
    bool whole = n > 0 && n < CA_MAX && strlen(text) == n;
    int rc = enrol_take_pem(e, e->o->ca_file, whole ? text : "");
    free(text);
    return rc;
}

static int give_away(struct enrolment *e)
{
    DIR *d = opendir(e->stage);
    int rc = d != NULL ? SK_OK : SK_EIO;
    for (struct dirent *f; rc == SK_OK && (f = readdir(d)) != NULL;)
        if (strcmp(f->d_name, "..") != 0 &&
            fchownat(dirfd(d), f->d_name, e->o->uid, e->o->gid, AT_SYMLINK_NOFOLLOW) != 0)
            rc = SK_EIO;
    if (rc == SK_OK && fsync(dirfd(d)) != 0)
        rc = SK_EIO;
    if (d != NULL)
        closedir(d);
    return rc == SK_OK ? rc
                       : enrol_fail(e, rc, "%s: cannot be given to the uplink's user: %s", e->stage, strerror(errno));
}

static void sync_parent(const char *path)
{
    char parent[ENROL_PATH];
    parent_of(path, parent, sizeof(parent));
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

/* One key a line. None: another manager's keys must not stay. */
static int write_keys(struct enrolment *e, const json_t *keys)
{
    char path[ENROL_PATH], text[64 * 48] = "";
    size_t n = 0;
    snprintf(path, sizeof(path), "%s/" KEYS_FILE, e->o->guard_dir);
    for (size_t i = 0; i < json_array_size(keys) && n + 48 < sizeof(text); i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s\n", json_string_value(json_array_get(keys, i)));
    if (n == 0)
        return unlink(path) == 0 || errno == ENOENT ? SK_OK : enrol_fail(e, SK_EIO, "%s: %s", path, strerror(errno));
    if (make_parents(path) != SK_OK || pki_secret_write(path, text, true) != SK_OK)
        return enrol_fail(e, SK_EIO, "%s: %s", path, strerror(errno));
    return SK_OK;
}

/* The old folder steps aside, and comes back when the new one cannot take its place. */
static int swap(struct enrolment *e)
{
    bool had = rename(e->o->dir, e->old) == 0;
    if (!had && errno != ENOENT)
        return SK_EIO;
    if (rename(e->stage, e->o->dir) == 0)
        return SK_OK;
    int saved = errno;
    if (had)
        (void)rename(e->old, e->o->dir);
    errno = saved;
    return SK_EIO;
}

int enrol_commit(struct enrolment *e, const json_t *keys)
{
    int rc = give_away(e);
    if (rc == SK_OK)
        rc = write_keys(e, keys);
    if (rc == SK_OK && swap(e) != SK_OK)
        rc = enrol_fail(e, SK_EIO, "%s: %s", e->o->dir, strerror(errno));
    if (rc != SK_OK)
        return rc;
    sync_parent(e->o->dir);
    remove_folder(e->old);
    return SK_OK;
}

void enrol_clear(struct enrolment *e)
{
    if (e->stage[0] != '\0')
        remove_folder(e->stage);
}
