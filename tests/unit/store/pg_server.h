/*
 * A PostgreSQL of our own: in a temporary folder, as user postgres, on a socket in that folder alone, without care for
 * the disk. It dies with the process that started it; pg_server_remove must still be called, from any process.
 */
#ifndef TESTS_STORE_PG_SERVER_H
#define TESTS_STORE_PG_SERVER_H

#include <sys/types.h>

struct pg_server {
    char dir[64]; /* also where the socket is */
};

/* NULL, or why there is none here. */
const char *pg_server_make(struct pg_server *p);
const char *pg_server_start(struct pg_server *p);
void pg_server_stop(const struct pg_server *p);
void pg_server_remove(struct pg_server *p);

#endif
