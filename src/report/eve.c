#include "report/eve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"

struct eve_writer {
    int fd;
    char name[256];
    struct sk_strbuf buf; /* whole lines, but for a first one that may be half in the file */
    char iface[EVE_INTERFACES][EVE_IFNAME_MAX];
    const char *ifaces[EVE_INTERFACES];
    struct event_json_opts opts;
    struct eve_stats stats;
    bool failing;
    uint64_t lost_before; /* write_errors when the failure began */
};

int eve_create(int fd, const char *name, bool payload, bool payload_printable, struct eve_writer **out)
{
    struct eve_writer *w = (struct eve_writer *)calloc(1, sizeof(*w));
    if (w == NULL)
        return SK_ENOMEM;
    w->fd = fd;
    strncpy(w->name, name, sizeof(w->name) - 1);
    sk_strbuf_init(&w->buf, EVE_BUFFER_MAX);
    w->opts = (struct event_json_opts){.ifaces = w->ifaces, .payload = payload, .payload_printable = payload_printable};
    for (unsigned i = 0; i < EVE_INTERFACES; i++)
        w->ifaces[i] = w->iface[i];
    *out = w;
    return SK_OK;
}

int eve_open_file(const char *path, bool truncate, int *fd)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    *fd = open(path, flags | (truncate ? O_TRUNC : 0), 0640);
    if (*fd >= 0)
        return SK_OK;
    if (errno == EACCES || errno == EPERM || errno == EROFS)
        return SK_EPERM;
    return errno == ENOENT || errno == ENOTDIR ? SK_ENOENT : SK_EIO;
}

bool eve_file_moved(int fd, const char *path)
{
    struct stat a, b;
    if (fstat(fd, &a) != 0)
        return false;
    return lstat(path, &b) != 0 ? errno == ENOENT : a.st_ino != b.st_ino || a.st_dev != b.st_dev;
}

void eve_reopen(struct eve_writer *w, int fd)
{
    int rc = eve_flush(w);
    (void)rc; /* what is left goes to the new file */
    if (w->fd >= 0)
        close(w->fd);
    w->fd = fd;
}

void eve_set_payload(struct eve_writer *w, bool payload, bool payload_printable)
{
    w->opts.payload = payload;
    w->opts.payload_printable = payload_printable;
}

void eve_set_iface(struct eve_writer *w, unsigned i, const char *name)
{
    if (i >= EVE_INTERFACES)
        return;
    strncpy(w->iface[i], name, EVE_IFNAME_MAX - 1);
    if (i >= w->opts.nifaces)
        w->opts.nifaces = i + 1;
}

static void take_out(struct sk_strbuf *b, size_t n)
{
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
    b->p[b->len] = '\0';
}

static int write_failed(struct eve_writer *w)
{
    if (!w->failing) {
        w->failing = true;
        w->lost_before = w->stats.write_errors;
        sk_log(SK_LOG_ERROR, "cannot write %s: %s; events are held back and then dropped until it can be", w->name,
               strerror(errno));
    }
    return SK_EIO;
}

int eve_flush(struct eve_writer *w)
{
    size_t done = 0;
    int rc = SK_OK;
    if (w->fd < 0)
        w->buf.len = 0; /* the log is switched off */
    while (done < w->buf.len) {
        ssize_t n = write(w->fd, w->buf.p + done, w->buf.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = write_failed(w);
            break;
        }
        done += (size_t)n;
    }
    w->stats.bytes += done;
    if (done > 0)
        take_out(&w->buf, done);
    w->stats.held = w->buf.len;
    if (rc == SK_OK && w->failing) {
        w->failing = false;
        sk_log(SK_LOG_WARN, "%s can be written again; %llu events were lost", w->name,
               (unsigned long long)(w->stats.write_errors - w->lost_before));
    }
    return rc;
}

/* A line that did not fit leaves no part of itself. */
static int append_line(struct eve_writer *w, const void *rec, uint32_t len)
{
    size_t before = w->buf.len;
    int rc = event_to_line(rec, len, &w->opts, &w->buf);
    if (rc != SK_OK) {
        w->buf.len = before;
        w->buf.full = false;
        if (w->buf.p != NULL)
            w->buf.p[before] = '\0';
    }
    return rc;
}

int eve_write(struct eve_writer *w, const void *rec, uint32_t len)
{
    int rc = append_line(w, rec, len);
    if (rc == SK_EFULL && eve_flush(w) == SK_OK)
        rc = append_line(w, rec, len);
    if (rc == SK_EPROTO) {
        w->stats.invalid++;
        return rc;
    }
    if (rc != SK_OK) {
        w->stats.write_errors++;
        return SK_EFULL;
    }
    w->stats.events++;
    if (w->failing)
        w->stats.held = w->buf.len;
    if (w->buf.len >= EVE_FLUSH_AT && !w->failing)
        (void)!eve_flush(w);
    return SK_OK;
}

const struct eve_stats *eve_stats(const struct eve_writer *w)
{
    return &w->stats;
}

void eve_free(struct eve_writer *w)
{
    if (w == NULL)
        return;
    (void)!eve_flush(w);
    if (w->fd >= 0)
        close(w->fd);
    sk_strbuf_free(&w->buf);
    free(w);
}
