#include "memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int memfd_make(const char *name, size_t size, int *fd)
{
    int f = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (f < 0)
        return SK_EIO;
    if (ftruncate(f, (off_t)size) != 0 || fcntl(f, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        close(f);
        return SK_EIO;
    }
    *fd = f;
    return SK_OK;
}

int memfd_check(int fd, size_t size)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return SK_EPROTO;
    if (fstat(fd, &st) != 0 || st.st_size < 0 || (size_t)st.st_size != size)
        return SK_EPROTO;
    return SK_OK;
}

int memfd_map_shared(int fd, size_t size, void **out)
{
    int rc = memfd_check(fd, size);
    if (rc != SK_OK)
        return rc;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return SK_EIO;
    *out = p;
    return SK_OK;
}
