#include "schema.h"

#include <stdio.h>
#include <sys/random.h>
#include "base/log.h"

/*
 * Times are ms of the wall clock. A prefix is the text that sk_prefix_format writes: there is one for each prefix.
 *
 * state is one row: the numbers that were given out last. Whoever gives one out locks the row until the commit
 * (inside.h), so numbers become visible in their order. first: of entries that changed before it, a reader may have
 * missed the end.
 *
 * block.ended, entry.expires: 0 stands for "not yet" and "lifted". Partial indices stand for what is asked all the
 * time: blocks that nobody ended.
 *
 * entry.shrunk: number of its last change that moved its end nearer, 0 when there was none. Whoever knows of a later
 * end than there was must be told also when the entry has run out since.
 */
static const char *const steps[] = {
    "CREATE TABLE state(one BIGINT PRIMARY KEY, epoch TEXT NOT NULL, entry BIGINT NOT NULL, first BIGINT NOT NULL,"
    " event BIGINT NOT NULL, audit BIGINT NOT NULL, outgoing BIGINT NOT NULL);"

    "CREATE TABLE token(id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, kind BIGINT NOT NULL, created BIGINT NOT NULL,"
    " expires BIGINT NOT NULL, uses_left BIGINT NOT NULL, used BIGINT NOT NULL, last_used BIGINT NOT NULL,"
    " revoked BIGINT NOT NULL, role TEXT NOT NULL, note TEXT NOT NULL, tags TEXT NOT NULL);"

    "CREATE TABLE agent(id TEXT PRIMARY KEY, state BIGINT NOT NULL, changed BIGINT NOT NULL, host TEXT NOT NULL,"
    " version TEXT NOT NULL, address TEXT NOT NULL, instance TEXT NOT NULL, account TEXT NOT NULL,"
    " region TEXT NOT NULL, tags TEXT NOT NULL, token TEXT NOT NULL, enrolled BIGINT NOT NULL, seen BIGINT NOT NULL,"
    " cert_until BIGINT NOT NULL, rules_version BIGINT NOT NULL, policy_version BIGINT NOT NULL, status TEXT NOT NULL,"
    " serial TEXT NOT NULL, serial_before TEXT NOT NULL);"
    "CREATE UNIQUE INDEX agent_instance ON agent(instance) WHERE instance <> '' AND state <> 2;"
    "CREATE INDEX agent_seen ON agent(seen) WHERE state = 0;"

    "CREATE TABLE spool(agent TEXT NOT NULL, spool TEXT NOT NULL, seq BIGINT NOT NULL, began BIGINT NOT NULL,"
    " PRIMARY KEY(agent, spool));"

    "CREATE TABLE event(id BIGINT PRIMARY KEY, agent TEXT NOT NULL, time BIGINT NOT NULL, type TEXT NOT NULL,"
    " json TEXT NOT NULL);"
    "CREATE INDEX event_agent ON event(agent, id);"
    "CREATE INDEX event_type ON event(type, id);"
    "CREATE INDEX event_time ON event(time);"

    "CREATE TABLE block(agent TEXT NOT NULL, id TEXT NOT NULL, target TEXT NOT NULL, created BIGINT NOT NULL,"
    " expires BIGINT NOT NULL, ended BIGINT NOT NULL, why TEXT NOT NULL, origin TEXT NOT NULL, cause TEXT NOT NULL,"
    " sid BIGINT NOT NULL, gid BIGINT NOT NULL, score BIGINT NOT NULL, repeats BIGINT NOT NULL, latest BIGINT NOT NULL,"
    " reason TEXT NOT NULL, PRIMARY KEY(agent, id));"
    "CREATE INDEX block_force ON block(target, expires, agent, score, repeats, latest) WHERE ended = 0;"
    "CREATE INDEX block_expires ON block(expires) WHERE ended = 0;"
    "CREATE INDEX block_ended ON block(ended) WHERE ended <> 0;"
    "CREATE INDEX block_created ON block(created);"
    "CREATE INDEX block_target ON block(target, created);"
    "CREATE INDEX block_agent ON block(agent, created);"

    "CREATE TABLE entry(target TEXT PRIMARY KEY, seq BIGINT NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL,"
    " changed BIGINT NOT NULL, agent TEXT NOT NULL, host TEXT NOT NULL, id TEXT NOT NULL, origin TEXT NOT NULL,"
    " reason TEXT NOT NULL, sid BIGINT NOT NULL, gid BIGINT NOT NULL, agents BIGINT NOT NULL, score BIGINT NOT NULL,"
    " repeats BIGINT NOT NULL, latest BIGINT NOT NULL, shrunk BIGINT NOT NULL);"
    "CREATE UNIQUE INDEX entry_seq ON entry(seq);"
    "CREATE INDEX entry_expires ON entry(expires);"
    "CREATE INDEX entry_shrunk ON entry(changed, seq) WHERE shrunk > 0;"

    "CREATE TABLE bundle(kind TEXT NOT NULL, version BIGINT NOT NULL, created BIGINT NOT NULL,"
    " payload " DB_BYTES_TOKEN " NOT NULL, signature " DB_BYTES_TOKEN " NOT NULL, PRIMARY KEY(kind, version));"

    "CREATE TABLE waf_owned(ipset TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY(ipset, target));"
    "CREATE TABLE memo(name TEXT PRIMARY KEY, value TEXT NOT NULL);"

    "CREATE TABLE outgoing(id BIGINT PRIMARY KEY, sink TEXT NOT NULL, created BIGINT NOT NULL, next BIGINT NOT NULL,"
    " attempts BIGINT NOT NULL, why TEXT NOT NULL, payload TEXT NOT NULL);"
    "CREATE INDEX outgoing_due ON outgoing(sink, next, id);"
    "CREATE INDEX outgoing_created ON outgoing(created);"

    "CREATE TABLE audit(id BIGINT PRIMARY KEY, time BIGINT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,"
    " detail TEXT NOT NULL);"
    "CREATE INDEX audit_time ON audit(time);",

    /* When the blocks that an agent has told of will have been paid for. */
    "ALTER TABLE agent ADD COLUMN block_debt BIGINT NOT NULL DEFAULT 0",
};
const struct schema schema_current = {steps, sizeof steps / sizeof steps[0]};

static const char make_version[] = "CREATE TABLE IF NOT EXISTS schema_version(version BIGINT NOT NULL)";

static int read_version(struct db *db, int64_t *version)
{
    struct db_rows r;
    *version = 0;
    int rc = db_query(db, "SELECT version FROM schema_version", NULL, 0, &r);
    if (rc == SK_OK && (rc = db_next(&r)) == SK_OK)
        *version = db_int(&r, 0);
    db_done(&r);
    return rc == SK_EEND ? SK_OK : rc;
}

static int write_version(struct db *db, int64_t version)
{
    struct db_value v = db_i(version);
    int rc = db_exec(db, "DELETE FROM schema_version", NULL, 0, NULL);
    return rc != SK_OK ? rc : db_exec(db, "INSERT INTO schema_version(version) VALUES(?)", &v, 1, NULL);
}

/* The name of this database's sequence of numbers. */
static int first_row(struct db *db)
{
    uint8_t raw[12];
    char epoch[2 * sizeof raw + 1];
    if (getrandom(raw, sizeof raw, 0) != sizeof raw)
        return db_fail(db, "getrandom", "no random bytes");
    for (size_t i = 0; i < sizeof raw; i++)
        snprintf(epoch + 2 * i, 3, "%02x", raw[i]);
    struct db_value v = db_t(epoch);
    return db_exec(db, "INSERT INTO state VALUES(1,?,0,1,0,0,0)", &v, 1, NULL);
}

static int migrate_locked(struct db *db, const struct schema *to)
{
    int64_t have = 0;
    int rc = db_lock_schema(db);
    if (rc == SK_OK)
        rc = db_script(db, make_version);
    if (rc == SK_OK)
        rc = read_version(db, &have);
    if (rc != SK_OK || have == to->n)
        return rc;
    if (have > to->n) {
        char words[128];
        snprintf(words, sizeof words, "version %lld is later than this program's %u", (long long)have, to->n);
        (void)db_fail(db, "the database's schema", words);
        return SK_ENOTSUP;
    }
    for (int64_t i = have; i < to->n && rc == SK_OK; i++)
        rc = db_script(db, to->steps[i]);
    if (rc == SK_OK && have == 0)
        rc = first_row(db);
    if (rc == SK_OK)
        rc = write_version(db, to->n);
    if (rc == SK_OK && have > 0)
        sk_log(SK_LOG_INFO, "store: schema of version %lld is now %u", (long long)have, to->n);
    return rc;
}

int schema_look(struct db *db, int64_t *version)
{
    int rc = db_begin(db);
    if (rc != SK_OK)
        return rc;
    rc = db_script(db, make_version); /* an empty database has no table to ask; what it makes is taken back */
    if (rc == SK_OK)
        rc = read_version(db, version);
    db_rollback(db);
    return rc;
}

int schema_migrate(struct db *db, const struct schema *to)
{
    int rc = db_begin(db);
    if (rc != SK_OK)
        return rc;
    rc = migrate_locked(db, to);
    if (rc == SK_OK)
        return db_commit(db, NULL, false);
    db_rollback(db);
    return rc;
}
