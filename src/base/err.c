#include "base/err.h"

const char *sk_strerror(int err)
{
    switch (err) {
    case SK_OK: return "success";
    case SK_EINVAL: return "invalid input";
    case SK_ENOMEM: return "out of memory";
    case SK_EIO: return "system call failed";
    case SK_EPERM: return "missing privilege";
    case SK_ENOENT: return "not found";
    case SK_EFULL: return "maximum reached";
    case SK_ETRUNC: return "input ended early";
    case SK_EPROTO: return "protocol violation";
    case SK_EAGAIN: return "nothing available now";
    case SK_EEXIST: return "already exists";
    case SK_EEND: return "end of input";
    case SK_ENOTSUP: return "not supported";
    default: return "unknown error";
    }
}
