/*
 * The one error vocabulary. Functions that can fail return enum sk_err: SK_OK (0) or a negative value; results go
 * through out-parameters. The packet path returns these and counts; it never logs.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum sk_err {
    SK_OK = 0,
    SK_EINVAL = -1, /* malformed input or argument */
    SK_ENOMEM = -2, /* the allocator failed */
    SK_EIO = -3,    /* a system call failed; errno is set */
    SK_EPERM = -4,  /* privilege is missing */
    SK_ENOENT = -5, /* no such thing */
    SK_EFULL = -6,  /* a named maximum is reached (base/limits.h) */
    SK_ETRUNC = -7, /* input ended early */
    SK_EPROTO = -8, /* a peer broke the protocol */
    SK_EAGAIN = -9, /* nothing now; call again */
    SK_EEXIST = -10,
    SK_EEND = -11, /* the source is exhausted (end of a capture file) */
    SK_ENOTSUP = -12,
};

#define SK_MUST_USE     __attribute__((warn_unused_result))
#define SK_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* A short English phrase, static. */
const char *sk_strerror(int err);

#endif
