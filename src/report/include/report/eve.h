/*
 * The EVE log: event records to lines of JSON in a file. Lines are collected and written in large pieces; a line is
 * never torn, not even by a full disk: what could not be written stays first in the buffer and is tried again. Full
 * policy: when the buffer is full because the file cannot be written, the new event is dropped and counted
 * (write_errors); the first failure and the recovery are logged, nothing in between.
 * Owner: reporter or replay; one thread.
 */
#ifndef REPORT_EVE_H
#define REPORT_EVE_H

#include "event/json.h"

#define EVE_BUFFER_MAX (4u << 20)   /* bytes of lines held back */
#define EVE_FLUSH_AT   (256u << 10) /* written when so much has come together, or at eve_flush */
#define EVE_INTERFACES SK_MAX_INTERFACES
#define EVE_IFNAME_MAX 16

struct eve_stats {
    uint64_t events, bytes; /* lines accepted; bytes that reached the file */
    uint64_t write_errors;  /* events dropped */
    uint64_t invalid;       /* records that event_valid refused */
    uint64_t held;          /* bytes of lines that wait until the file can be written again; 0 when all is well */
};

struct eve_writer;

/* Appends to a file that the caller has opened; fd becomes the writer's; -1: events are accepted and go
 * nowhere. name is for messages and is copied. */
SK_MUST_USE int eve_create(int fd, const char *name, bool payload, bool payload_printable, struct eve_writer **out);
/* Opens for appending, mode 0640, folders of the path are not made. A symbolic link is not followed. errno tells why
 * not: SK_EIO, SK_EPERM, SK_ENOENT. truncate: begins anew. */
SK_MUST_USE int eve_open_file(const char *path, bool truncate, int *fd);
/* The file that name stands for is no longer the open one (rotated or removed). */
bool eve_file_moved(int fd, const char *path);
/* Goes on in another file; what is pending goes to the old one first. */
void eve_reopen(struct eve_writer *w, int fd);
/* How payloads are written from now on. */
void eve_set_payload(struct eve_writer *w, bool payload, bool payload_printable);
/* Name of interface i for in_iface. */
void eve_set_iface(struct eve_writer *w, unsigned i, const char *name);
/* One event. SK_EPROTO: invalid; SK_EFULL: dropped; both are counted. */
SK_MUST_USE int eve_write(struct eve_writer *w, const void *rec, uint32_t len);
/* Writes what is pending. SK_EIO: not all of it. */
SK_MUST_USE int eve_flush(struct eve_writer *w);
const struct eve_stats *eve_stats(const struct eve_writer *w);
/* Flushes as far as possible, closes, frees. */
void eve_free(struct eve_writer *w);

#endif
