#include "ipc/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int failed(int fd, int rc)
{
    int err = errno;
    close(fd);
    errno = err;
    return rc;
}

/* Is somebody answering on that socket? */
static bool path_alive(const struct sockaddr_un *sa)
{
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return false;
    bool alive = connect(s, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno == EAGAIN;
    close(s);
    return alive;
}

int ipc_listen_path(const char *path, gid_t gid, int backlog, int *fd)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(sa.sun_path))
        return SK_EINVAL;
    strcpy(sa.sun_path, path);
    if (path_alive(&sa))
        return SK_EEXIST;
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return SK_EIO;
    mode_t old = umask(0117); /* never, not even for a moment, open to others */
    int rc = bind(s, (struct sockaddr *)&sa, sizeof(sa));
    int err = errno;
    umask(old);
    errno = err;
    if (rc != 0)
        return failed(s, err == EACCES || err == EPERM ? SK_EPERM : SK_EIO);
    if ((gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) != 0) || listen(s, backlog) != 0) {
        int why = errno;
        (void)unlink(path);
        errno = why;
        return failed(s, SK_EIO);
    }
    *fd = s;
    return SK_OK;
}

/* The address in the kernel's form; its length. */
static socklen_t kernel_address(const struct sk_addr *addr, uint16_t port, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof(*ss));
    if (sk_addr_is_v4(addr)) {
        struct sockaddr_in *sa = (struct sockaddr_in *)(void *)ss;
        sa->sin_family = AF_INET;
        sa->sin_port = htons(port);
        memcpy(&sa->sin_addr, addr->b + 12, 4);
        return sizeof(*sa);
    }
    struct sockaddr_in6 *sa = (struct sockaddr_in6 *)(void *)ss;
    sa->sin6_family = AF_INET6;
    sa->sin6_port = htons(port);
    memcpy(&sa->sin6_addr, addr->b, 16);
    return sizeof(*sa);
}

int ipc_listen_port(const struct sk_addr *addr, uint16_t port, int backlog, int *fd)
{
    struct sockaddr_storage ss;
    socklen_t len = kernel_address(addr, port, &ss);
    int on = 1, s = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return SK_EIO;
    if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(s, (const struct sockaddr *)&ss, len) != 0 || listen(s, backlog) != 0)
        return failed(s, SK_EIO);
    *fd = s;
    return SK_OK;
}
