/* The tables, as steps from one version to the next; step 0 makes them in an empty database. */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include "db.h"

struct schema {
    const char *const *steps;
    unsigned n; /* the version that all steps lead to */
};
extern const struct schema schema_current;

/* In one transaction, one process at a time. SK_ENOTSUP: the tables are of a later version; db_error has both. */
SK_MUST_USE int schema_migrate(struct db *db, const struct schema *to);
/* The version that is there, 0 in an empty database. Changes nothing. */
SK_MUST_USE int schema_look(struct db *db, int64_t *version);

#endif
