#include "ipc/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/reader.h"

#define BUNDLE_MAGIC 0x534b6264u /* "SKbd" */

/* One text in the file: this, name and NUL, text and NUL. */
struct entry {
    uint32_t magic, kind, name_len, text_len;
};

struct ipc_bundle {
    int fd; /* builder: -1 once sealed */
    size_t size;
    unsigned n;
    void *map;
    struct ipc_text *texts;
};

int ipc_bundle_create(struct ipc_bundle **out)
{
    struct ipc_bundle *b = (struct ipc_bundle *)calloc(1, sizeof(*b));
    if (b == NULL)
        return SK_ENOMEM;
    b->fd = memfd_create("sekisho-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (b->fd < 0) {
        free(b);
        return SK_EIO;
    }
    *out = b;
    return SK_OK;
}

static int write_all(int fd, const void *p, size_t len)
{
    const char *at = (const char *)p;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SK_EIO;
        at += n;
        len -= (size_t)n;
    }
    return SK_OK;
}

int ipc_bundle_add(struct ipc_bundle *b, enum ipc_text_kind kind, const char *name, const char *text, size_t len)
{
    size_t name_len = strlen(name);
    if (b->n == IPC_BUNDLE_TEXTS || name_len > 4096 || len > IPC_BUNDLE_MAX)
        return SK_EFULL;
    size_t need = sizeof(struct entry) + name_len + 1 + len + 1;
    if (need > IPC_BUNDLE_MAX - b->size)
        return SK_EFULL;
    struct entry e = {BUNDLE_MAGIC, (uint32_t)kind, (uint32_t)name_len, (uint32_t)len};
    int rc = write_all(b->fd, &e, sizeof(e));
    if (rc == SK_OK)
        rc = write_all(b->fd, name, name_len + 1);
    if (rc == SK_OK)
        rc = write_all(b->fd, text, len);
    if (rc == SK_OK)
        rc = write_all(b->fd, "", 1);
    b->size += need;
    b->n++;
    return rc;
}

int ipc_bundle_seal(struct ipc_bundle *b, int *fd)
{
    int rc = SK_OK;
    if (fcntl(b->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        rc = SK_EIO;
    if (rc == SK_OK) {
        *fd = b->fd;
        b->fd = -1;
    }
    ipc_bundle_free(b);
    return rc;
}

/* The next text at r; false: what is there is none. */
static bool read_text(struct sk_reader *r, struct ipc_text *t)
{
    struct entry e = {0};
    struct sk_span head = rd_span(r, sizeof(e));
    if (r->bad)
        return false;
    memcpy(&e, head.p, sizeof(e));
    struct sk_span name = rd_span(r, (size_t)e.name_len + 1);
    struct sk_span text = rd_span(r, (size_t)e.text_len + 1);
    if (r->bad || e.magic != BUNDLE_MAGIC || e.kind >= IPC_TEXT_KINDS)
        return false;
    if (name.p[e.name_len] != 0 || text.p[e.text_len] != 0)
        return false;
    *t = (struct ipc_text){(enum ipc_text_kind)e.kind, (const char *)name.p, (const char *)text.p, e.text_len};
    return true;
}

static int read_texts(struct ipc_bundle *b)
{
    struct sk_reader r = rd_init(b->map, b->size);
    b->texts = (struct ipc_text *)calloc(IPC_BUNDLE_TEXTS, sizeof(*b->texts));
    if (b->texts == NULL)
        return SK_ENOMEM;
    while (rd_left(&r) > 0) {
        if (b->n == IPC_BUNDLE_TEXTS || !read_text(&r, &b->texts[b->n]))
            return SK_EPROTO;
        b->n++;
    }
    return SK_OK;
}

int ipc_bundle_open(int fd, struct ipc_bundle **out)
{
    const int want = F_SEAL_WRITE | F_SEAL_SHRINK;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & want) != want || fstat(fd, &st) != 0 || st.st_size > IPC_BUNDLE_MAX)
        return SK_EPROTO;
    struct ipc_bundle *b = (struct ipc_bundle *)calloc(1, sizeof(*b));
    if (b == NULL)
        return SK_ENOMEM;
    b->fd = -1;
    b->size = (size_t)st.st_size;
    int rc = SK_OK;
    if (b->size > 0) {
        b->map = mmap(NULL, b->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (b->map == MAP_FAILED) {
            b->map = NULL;
            rc = SK_EIO;
        } else {
            rc = read_texts(b);
        }
    }
    if (rc != SK_OK) {
        ipc_bundle_free(b);
        return rc;
    }
    *out = b;
    return SK_OK;
}

unsigned ipc_bundle_count(const struct ipc_bundle *b)
{
    return b->n;
}

struct ipc_text ipc_bundle_text(const struct ipc_bundle *b, unsigned i)
{
    return b->texts[i];
}

void ipc_bundle_free(struct ipc_bundle *b)
{
    if (b == NULL)
        return;
    if (b->fd >= 0)
        close(b->fd);
    if (b->map != NULL)
        munmap(b->map, b->size);
    free(b->texts);
    free(b);
}
