/* Shared memory for the other files of this module. Not public. */
#ifndef IPC_MEMFD_H
#define IPC_MEMFD_H

#include <stddef.h>
#include "base/err.h"

/* A memfd of that size, zeroed, sealed against resizing. */
SK_MUST_USE int memfd_make(const char *name, size_t size, int *fd);
/* SK_EPROTO unless fd can no longer shrink (a mapping could fault) and has exactly that size. */
SK_MUST_USE int memfd_check(int fd, size_t size);
SK_MUST_USE int memfd_map_shared(int fd, size_t size, void **out);

#endif
