#include "ipc/blob.h"

#include <fcntl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static bool write_all(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

int ipc_blob_make(const char *name, const void *p, size_t len, int *fd)
{
    int f = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (f < 0)
        return SK_EIO;
    if (!write_all(f, p, len) || fcntl(f, F_ADD_SEALS, SEALS) != 0) {
        close(f);
        return SK_EIO;
    }
    *fd = f;
    return SK_OK;
}

int ipc_blob_map(int fd, size_t max, const void **p, size_t *len)
{
    const int want = F_SEAL_WRITE | F_SEAL_SHRINK;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & want) != want || fstat(fd, &st) != 0 || st.st_size < 1 || (size_t)st.st_size > max)
        return SK_EPROTO;
    void *m = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (m == MAP_FAILED)
        return SK_EIO;
    *p = m;
    *len = (size_t)st.st_size;
    return SK_OK;
}

void ipc_blob_unmap(const void *p, size_t len)
{
    munmap((void *)(uintptr_t)p, len);
}
