#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "pki_priv.h"

/* The folder of path, for its fsync. */
static int sync_folder(const char *path)
{
    char dir[PKI_PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof(dir), "%.*s",
             slash == NULL   ? 1
             : slash == path ? 1
                             : (int)(slash - path),
             slash == NULL ? "." : path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? SK_EIO : SK_OK;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int write_whole(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SK_EIO;
        p += n;
        len -= (size_t)n;
    }
    return SK_OK;
}

/* link(2) never overwrites, rename(2) always does. */
static int put_in_place(const char *temp, const char *path, bool replace)
{
    if (replace)
        return rename(temp, path) == 0 ? SK_OK : SK_EIO;
    if (link(temp, path) == 0)
        return SK_OK;
    return errno == EEXIST ? SK_EEXIST : SK_EIO;
}

int pki_file_write(const char *path, const char *text, size_t len, unsigned mode, bool replace)
{
    char temp[PKI_PATH_MAX];
    if ((size_t)snprintf(temp, sizeof(temp), "%s.XXXXXX", path) >= sizeof(temp)) {
        errno = ENAMETOOLONG;
        return SK_EIO;
    }
    int fd = mkostemp(temp, O_CLOEXEC); /* O_EXCL, mode 0600 */
    if (fd < 0)
        return SK_EIO;
    int rc = write_whole(fd, text, len);
    if (rc == SK_OK && (fchmod(fd, mode) != 0 || fsync(fd) != 0))
        rc = SK_EIO;
    if (close(fd) != 0 && rc == SK_OK)
        rc = SK_EIO;
    if (rc == SK_OK)
        rc = put_in_place(temp, path, replace);
    int saved = errno;
    if (!(rc == SK_OK && replace))
        unlink(temp);
    errno = saved;
    return rc == SK_OK ? sync_folder(path) : rc;
}

int pki_secret_write(const char *path, const char *text, bool replace)
{
    return pki_file_write(path, text, strlen(text), 0600, replace);
}

/* Who owns it can change it, whatever its mode. */
static int check_file(int fd, size_t max, bool secret)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return SK_EIO;
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uintmax_t)st.st_size > max)
        return SK_EINVAL;
    if (secret && ((st.st_mode & 077) != 0 || (geteuid() != 0 && st.st_uid != 0 && st.st_uid != geteuid())))
        return SK_EPERM;
    return SK_OK;
}

static int read_whole(int fd, char *buf, size_t max, size_t *len)
{
    *len = 0;
    while (*len <= max) {
        ssize_t n = read(fd, buf + *len, max + 1 - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return SK_EIO;
        if (n == 0)
            break;
        *len += (size_t)n;
    }
    buf[*len <= max ? *len : max] = '\0';
    return *len <= max ? SK_OK : SK_EINVAL;
}

int pki_file_read(const char *path, size_t max, bool secret, char **text, size_t *len)
{
    *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? SK_ENOENT : SK_EIO;
    int rc = check_file(fd, max, secret);
    char *buf = rc == SK_OK ? (char *)malloc(max + 2) : NULL;
    if (rc == SK_OK && buf == NULL)
        rc = SK_ENOMEM;
    if (rc == SK_OK)
        rc = read_whole(fd, buf, max, len);
    if (rc == SK_OK && memchr(buf, '\0', *len) != NULL)
        rc = SK_EINVAL;
    int saved = errno;
    close(fd);
    if (rc == SK_OK)
        *text = buf;
    else if (buf != NULL)
        OPENSSL_clear_free(buf, max + 2);
    errno = saved;
    return rc;
}

int pki_secret_read(const char *path, char **text)
{
    size_t len;
    return pki_file_read(path, PKI_PEM_MAX, true, text, &len);
}

void pki_wipe(char *text)
{
    if (text == NULL)
        return;
    OPENSSL_cleanse(text, strlen(text));
    free(text);
}
