#include "base/path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int sk_path_makeable(const char *path, char *why, size_t cap)
{
    char folder[SK_PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') /* of the thing itself */
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    if ((size_t)snprintf(folder, sizeof(folder), "%.*s", n > 0 ? (int)n : 1, n > 0 ? path : ".") >= sizeof(folder))
        errno = ENAMETOOLONG;
    else if (access(folder, W_OK | X_OK) == 0)
        return SK_OK;
    snprintf(why, cap, "%s: %s", folder, strerror(errno));
    return SK_EIO;
}
