/* Paths of files. */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stddef.h>
#include "base/err.h"

#define SK_PATH_MAX 4096 /* bytes with NUL, as the kernel's PATH_MAX */

/* Could something be made at `path`, where nothing is: is its folder there, and may this process write into it? SK_EIO:
 * no; why: the folder and the reason, text of cap bytes. */
SK_MUST_USE int sk_path_makeable(const char *path, char *why, size_t cap);

#endif
