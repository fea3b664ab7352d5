/* The command line's side: blocking, with one deadline for all of it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "ipc/control.h"

static int connect_to(const char *path, int *fd)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(sa.sun_path))
        return SK_EINVAL;
    strcpy(sa.sun_path, path);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return SK_EIO;
    if (connect(s, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
        int err = errno;
        close(s);
        errno = err;
        if (err == ENOENT || err == ECONNREFUSED)
            return SK_ENOENT;
        return err == EACCES || err == EPERM ? SK_EPERM : SK_EIO;
    }
    *fd = s;
    return SK_OK;
}

/* Waits until fd can do what events says. */
static int wait_for(int fd, short events, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - sk_now_mono();
        if (left <= 0)
            return SK_EAGAIN;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int)(left / SK_NS_PER_MS) + 1);
        if (n > 0)
            return SK_OK;
        if (n < 0 && errno != EINTR)
            return SK_EIO;
    }
}

static int send_all(int fd, const void *p, size_t len, int64_t deadline)
{
    const char *at = (const char *)p;
    while (len > 0) {
        int rc = wait_for(fd, POLLOUT, deadline);
        if (rc != SK_OK)
            return rc;
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return errno == EPIPE ? SK_EPROTO : SK_EIO;
        at += n;
        len -= (size_t)n;
    }
    return SK_OK;
}

static int recv_all(int fd, void *p, size_t len, int64_t deadline)
{
    char *at = (char *)p;
    while (len > 0) {
        int rc = wait_for(fd, POLLIN, deadline);
        if (rc != SK_OK)
            return rc;
        ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return n == 0 || errno == ECONNRESET ? SK_EPROTO : SK_EIO;
        at += n;
        len -= (size_t)n;
    }
    return SK_OK;
}

static int send_request(int fd, const json_t *request, int64_t deadline)
{
    char *text = json_dumps(request, JSON_COMPACT);
    if (text == NULL)
        return SK_ENOMEM;
    uint32_t head[2] = {IPC_CONTROL_MAGIC, (uint32_t)strlen(text)};
    int rc = send_all(fd, head, sizeof(head), deadline);
    if (rc == SK_OK)
        rc = send_all(fd, text, head[1], deadline);
    free(text);
    return rc;
}

static int recv_answer(int fd, int64_t deadline, json_t **answer)
{
    uint32_t head[2];
    int rc = recv_all(fd, head, sizeof(head), deadline);
    if (rc != SK_OK)
        return rc;
    if (head[0] != IPC_CONTROL_MAGIC || head[1] > IPC_CONTROL_ANS_MAX)
        return SK_EPROTO;
    char *text = (char *)malloc((size_t)head[1] + 1);
    if (text == NULL)
        return SK_ENOMEM;
    rc = recv_all(fd, text, head[1], deadline);
    if (rc == SK_OK) {
        *answer = json_loadb(text, head[1], 0, NULL);
        rc = *answer != NULL ? SK_OK : SK_EPROTO;
    }
    free(text);
    return rc;
}

int ipc_control_call(const char *path, const json_t *request, int timeout_s, json_t **answer)
{
    int64_t deadline = sk_now_mono() + timeout_s * SK_NS_PER_S;
    int fd;
    int rc = connect_to(path, &fd);
    if (rc != SK_OK)
        return rc;
    rc = send_request(fd, request, deadline);
    if (rc == SK_OK)
        rc = recv_answer(fd, deadline, answer);
    close(fd);
    return rc;
}
