#include "ipc/status.h"

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>
#include "memfd.h"

int ipc_status_create(int *fd, struct ipc_status **out)
{
    int rc = memfd_make("sekisho-status", sizeof(struct ipc_status), fd);
    if (rc != SK_OK)
        return rc;
    rc = ipc_status_map(*fd, out);
    if (rc != SK_OK) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}

int ipc_status_map(int fd, struct ipc_status **out)
{
    void *p;
    int rc = memfd_map_shared(fd, sizeof(struct ipc_status), &p);
    if (rc == SK_OK)
        *out = (struct ipc_status *)p;
    return rc;
}

void ipc_status_unmap(struct ipc_status *s)
{
    if (s != NULL)
        munmap(s, sizeof(*s));
}
