#include "enforce/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "checkpoint.h"
#include "decide/policy.h"
#include "journal_json.h"

#define JOURNAL_PATH_MAX 4096
#define BUSY_MS          100 /* nobody else has business with this file; the guard must not wait long */

/* From one schema to the next; [0] makes a new file. */
static const char *const schema_sql[JOURNAL_SCHEMA] = {
    "CREATE TABLE block(id TEXT NOT NULL UNIQUE, addr BLOB NOT NULL, len INTEGER NOT NULL, origin INTEGER NOT NULL,"
    " created INTEGER NOT NULL, expires INTEGER NOT NULL, last INTEGER NOT NULL, requests INTEGER NOT NULL,"
    " sid INTEGER, gid INTEGER, rev INTEGER, proto INTEGER, dropped INTEGER, to_server INTEGER,"
    " src BLOB, dst BLOB, sport INTEGER, dport INTEGER, flow INTEGER, packet INTEGER, packet_ts INTEGER,"
    " msg TEXT, evidence BLOB, hit_packets INTEGER, hit_bytes INTEGER, ended INTEGER, why INTEGER);"
    "CREATE INDEX block_active ON block(expires) WHERE ended IS NULL;"
    "CREATE INDEX block_ended ON block(ended) WHERE ended IS NOT NULL;",
    "ALTER TABLE block ADD COLUMN reason INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE block ADD COLUMN score INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE block ADD COLUMN threshold INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE block ADD COLUMN repeat INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE block ADD COLUMN dry_run INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE block ADD COLUMN identity TEXT;"
    "ALTER TABLE block ADD COLUMN scores TEXT;"
    "CREATE INDEX block_target ON block(addr,len,created);",
    "ALTER TABLE block ADD COLUMN own INTEGER;"
    "ALTER TABLE block ADD COLUMN fleet TEXT;"
    "CREATE INDEX block_unblocked ON block(expires) WHERE why=1;", /* JOURNAL_UNBLOCKED */
};

/* Checkpoints write and sync: not in the path of a block, but in a thread (checkpoint.h). */
static const char setup_sql[] = "PRAGMA synchronous=NORMAL;PRAGMA trusted_schema=OFF;PRAGMA cache_size=-4096;"
                                "PRAGMA wal_autocheckpoint=0;PRAGMA journal_size_limit=67108864";

#define WAL_PAGES     16384 /* 64 MiB of log: time for a checkpoint before anybody asks for one */
#define WAL_PAGES_MAX 65536 /* the thread cannot keep up: whoever commits waits */

#define COLUMNS                                                                                                        \
    "id,addr,len,origin,created,expires,last,requests,sid,gid,rev,proto,dropped,to_server,src,dst,sport,dport,flow,"   \
    "packet,packet_ts,msg,evidence,hit_packets,hit_bytes,reason,score,threshold,repeat,dry_run,identity,scores,own,"   \
    "fleet,ended,why"

enum column {
    C_ID,
    C_ADDR,
    C_LEN,
    C_ORIGIN,
    C_CREATED,
    C_EXPIRES,
    C_LAST,
    C_REQUESTS,
    C_SID,
    C_GID,
    C_REV,
    C_PROTO,
    C_DROPPED,
    C_TO_SERVER,
    C_SRC,
    C_DST,
    C_SPORT,
    C_DPORT,
    C_FLOW,
    C_PACKET,
    C_PACKET_TS,
    C_MSG,
    C_EVIDENCE,
    C_HIT_PACKETS,
    C_HIT_BYTES,
    C_REASON,
    C_SCORE,
    C_THRESHOLD,
    C_REPEAT,
    C_DRY_RUN,
    C_IDENTITY,
    C_SCORES,
    C_OWN,
    C_FLEET,
    C_ENDED,
    C_WHY,
    C_COUNT
};

struct journal {
    sqlite3 *db;
    sqlite3_stmt *put, *update;
    struct checkpoint *checkpoint; /* NULL: there is no thread */
    bool open_txn;
    bool complained; /* one message for a row of failures */
};

static int sql_err(struct journal *j, const char *what)
{
    if (j->complained)
        return SK_EIO;
    j->complained = true;
    sk_log(SK_LOG_ERROR, "journal: %s: %s", what, sqlite3_errmsg(j->db));
    return SK_EIO;
}

static int run_sql(struct journal *j, const char *sql)
{
    return sqlite3_exec(j->db, sql, NULL, NULL, NULL);
}

static int query_int(struct journal *j, const char *sql, int *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(j->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *out = sqlite3_column_int(st, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc;
}

/*
 * Why the last call failed. A disk that is full or cannot be read or written says nothing about the file: SK_EIO, and
 * it stays where it is. Anything else: SK_EPROTO, damage.
 */
static int damage_or_trouble(struct journal *j)
{
    switch (sqlite3_errcode(j->db) & 0xff) { /* the low byte of an extended code */
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_NOMEM: return sql_err(j, "cannot read or set up the file");
    default: return SK_EPROTO;
    }
}

/* quick_check returns the single row "ok". */
static int check_file(struct journal *j)
{
    sqlite3_stmt *st = NULL;
    int rc = SK_OK;
    if (sqlite3_prepare_v2(j->db, "PRAGMA quick_check(1)", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW)
        rc = damage_or_trouble(j);
    else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
        rc = SK_EPROTO;
    sqlite3_finalize(st);
    return rc;
}

static int migrate(struct journal *j)
{
    int version = 0;
    if (query_int(j, "PRAGMA user_version", &version) != SQLITE_OK)
        return damage_or_trouble(j);
    if (version > JOURNAL_SCHEMA) {
        sk_log(SK_LOG_ERROR, "journal: schema %d is from a later version (this one knows %d)", version, JOURNAL_SCHEMA);
        return SK_ENOTSUP;
    }
    if (version == JOURNAL_SCHEMA)
        return SK_OK;
    if (run_sql(j, "BEGIN IMMEDIATE") != SQLITE_OK)
        return damage_or_trouble(j);
    for (int v = version < 0 ? 0 : version; v < JOURNAL_SCHEMA; v++)
        if (run_sql(j, schema_sql[v]) != SQLITE_OK)
            return damage_or_trouble(j);
    char set[64];
    snprintf(set, sizeof set, "PRAGMA user_version=%d", JOURNAL_SCHEMA);
    if (run_sql(j, set) != SQLITE_OK || run_sql(j, "COMMIT") != SQLITE_OK)
        return damage_or_trouble(j);
    return SK_OK;
}

static int prepare(struct journal *j)
{
    static const char put[] = "INSERT OR REPLACE INTO block(" COLUMNS
                              ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
    static const char update[] =
        "UPDATE block SET expires=?2,last=?3,requests=?4,hit_packets=?5,hit_bytes=?6,own=?7,fleet=?8"
        " WHERE id=?1 AND ended IS NULL";
    if (sqlite3_prepare_v3(j->db, put, -1, SQLITE_PREPARE_PERSISTENT, &j->put, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(j->db, update, -1, SQLITE_PREPARE_PERSISTENT, &j->update, NULL) != SQLITE_OK)
        return damage_or_trouble(j);
    return SK_OK;
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct journal *j = arg;
    if (j->checkpoint && pages >= WAL_PAGES)
        checkpoint_ask(j->checkpoint);
    if (pages >= (j->checkpoint ? WAL_PAGES_MAX : WAL_PAGES))
        (void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return SQLITE_OK;
}

static void journal_destroy(struct journal *j)
{
    if (!j)
        return;
    checkpoint_stop(j->checkpoint);
    sqlite3_finalize(j->put);
    sqlite3_finalize(j->update);
    sqlite3_close(j->db);
    free(j);
}

/* The file exists with mode 0600 before SQLite opens it; SQLite gives -wal and -shm the same mode. */
static int touch(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        sk_log(SK_LOG_ERROR, "journal: %s: %s", path, strerror(errno));
    if (fd < 0)
        return errno == EACCES || errno == EPERM ? SK_EPERM : SK_EIO;
    struct stat st;
    int rc = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fchmod(fd, 0600) == 0 ? SK_OK : SK_EIO;
    close(fd);
    return rc;
}

/* SK_EPROTO: the file is damaged or no database. */
static int open_once(const char *path, struct journal **out)
{
    int rc = touch(path);
    if (rc != SK_OK)
        return rc;
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return SK_ENOMEM;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &j->db, flags, NULL) != SQLITE_OK) {
        rc = sql_err(j, "cannot open");
        goto out;
    }
    sqlite3_busy_timeout(j->db, BUSY_MS);
    int mode = run_sql(j, "PRAGMA journal_mode=WAL");
    if (mode == SQLITE_NOTADB || mode == SQLITE_CORRUPT) {
        rc = SK_EPROTO;
        goto out;
    }
    if (mode != SQLITE_OK || run_sql(j, setup_sql) != SQLITE_OK) {
        rc = sql_err(j, "cannot set up");
        goto out;
    }
    rc = check_file(j);
    if (rc == SK_OK)
        rc = migrate(j);
    if (rc == SK_OK)
        rc = prepare(j);
    if (rc == SK_OK) {
        j->checkpoint = checkpoint_start(path);
        (void)sqlite3_wal_hook(j->db, on_commit, j);
        *out = j;
    }
out:
    if (rc != SK_OK)
        journal_destroy(j);
    return rc;
}

static int move_aside(const char *path)
{
    char to[JOURNAL_PATH_MAX], side[JOURNAL_PATH_MAX];
    int n = snprintf(to, sizeof to, "%s.corrupt-%lld", path, (long long)time(NULL));
    if (n < 0 || (size_t)n >= sizeof to || rename(path, to) != 0)
        return SK_EIO;
    static const char *const suffix[] = {"-wal", "-shm"};
    for (int i = 0; i < 2; i++) {
        n = snprintf(side, sizeof side, "%s%s", path, suffix[i]);
        if (n > 0 && (size_t)n < sizeof side)
            (void)unlink(side);
    }
    sk_log(SK_LOG_ERROR, "journal: %s is damaged; moved to %s, beginning an empty one", path, to);
    return SK_OK;
}

int journal_open(const char *path, struct journal **out, bool *moved)
{
    if (moved)
        *moved = false;
    int rc = open_once(path, out);
    if (rc != SK_EPROTO)
        return rc;
    rc = move_aside(path);
    if (rc != SK_OK)
        return rc;
    if (moved)
        *moved = true;
    rc = open_once(path, out);
    return rc == SK_EPROTO ? SK_EIO : rc;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    (void)!journal_commit(j);
    journal_destroy(j);
}

static int begin(struct journal *j)
{
    if (j->open_txn)
        return SK_OK;
    if (run_sql(j, "BEGIN IMMEDIATE") != SQLITE_OK)
        return sql_err(j, "cannot begin");
    j->open_txn = true;
    return SK_OK;
}

int journal_commit(struct journal *j)
{
    if (!j->open_txn)
        return SK_OK;
    j->open_txn = false;
    if (run_sql(j, "COMMIT") == SQLITE_OK) {
        j->complained = false;
        return SK_OK;
    }
    int rc = sql_err(j, "cannot commit");
    (void)run_sql(j, "ROLLBACK");
    return rc;
}

void journal_checkpoint(struct journal *j)
{
    if (j->checkpoint)
        checkpoint_ask(j->checkpoint);
    else
        (void)sqlite3_wal_checkpoint_v2(j->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

static int step(struct journal *j, sqlite3_stmt *st, const char *what)
{
    int rc = sqlite3_step(st) == SQLITE_DONE ? SK_OK : sql_err(j, what);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc;
}

static void bind_i(sqlite3_stmt *st, enum column c, int64_t v)
{
    sqlite3_bind_int64(st, (int)c + 1, v);
}

static void bind_b(sqlite3_stmt *st, enum column c, const void *p, int n)
{
    sqlite3_bind_blob(st, (int)c + 1, p, n, SQLITE_STATIC);
}

static void bind_block(sqlite3_stmt *st, const struct block *b)
{
    sqlite3_bind_text(st, C_ID + 1, b->id, -1, SQLITE_STATIC);
    bind_b(st, C_ADDR, b->target.addr.b, 16);
    bind_i(st, C_LEN, b->target.len);
    bind_i(st, C_ORIGIN, b->origin);
    bind_i(st, C_CREATED, b->created);
    bind_i(st, C_EXPIRES, b->expires);
    bind_i(st, C_LAST, b->last);
    bind_i(st, C_REQUESTS, b->requests);
    bind_i(st, C_SID, b->sid);
    bind_i(st, C_GID, b->gid);
    bind_i(st, C_REV, b->rev);
    bind_i(st, C_PROTO, b->proto);
    bind_i(st, C_DROPPED, b->dropped);
    bind_i(st, C_TO_SERVER, b->to_server);
    bind_b(st, C_SRC, b->src.b, 16);
    bind_b(st, C_DST, b->dst.b, 16);
    bind_i(st, C_SPORT, b->sport);
    bind_i(st, C_DPORT, b->dport);
    bind_i(st, C_FLOW, (int64_t)b->flow_id);
    bind_i(st, C_PACKET, (int64_t)b->packet);
    bind_i(st, C_PACKET_TS, b->packet_ts);
    sqlite3_bind_text(st, C_MSG + 1, b->msg, -1, SQLITE_STATIC);
    bind_b(st, C_EVIDENCE, b->evidence, b->evidence_len);
    bind_i(st, C_HIT_PACKETS, (int64_t)b->hit_packets);
    bind_i(st, C_HIT_BYTES, (int64_t)b->hit_bytes);
    bind_i(st, C_REASON, b->reason);
    bind_i(st, C_SCORE, b->score);
    bind_i(st, C_THRESHOLD, b->threshold);
    bind_i(st, C_REPEAT, b->repeat);
    bind_i(st, C_DRY_RUN, b->dry_run);
    sqlite3_bind_text(st, C_IDENTITY + 1, journal_identity_text(b), -1, free); /* NULL is fine */
    sqlite3_bind_text(st, C_SCORES + 1, journal_scores_text(b), -1, free);
    bind_i(st, C_OWN, b->own);
    sqlite3_bind_text(st, C_FLEET + 1, journal_fleet_text(b), -1, free);
}

int journal_add(struct journal *j, const struct block *b)
{
    int rc = begin(j);
    if (rc != SK_OK)
        return rc;
    bind_block(j->put, b);
    return step(j, j->put, "cannot add a block");
}

int journal_end(struct journal *j, const struct block *b, enum journal_end why, int64_t now)
{
    int rc = begin(j);
    if (rc != SK_OK)
        return rc;
    bind_block(j->put, b);
    bind_i(j->put, C_ENDED, now);
    bind_i(j->put, C_WHY, why);
    return step(j, j->put, "cannot end a block");
}

int journal_rewrite(struct journal *j, const struct block_table *t, int64_t now)
{
    sqlite3_stmt *st = NULL;
    int rc = begin(j);
    if (rc != SK_OK)
        return rc;
    static const char sql[] = "UPDATE block SET ended=min(expires,?1),why=expires>?1 WHERE ended IS NULL";
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot rewrite");
    sqlite3_bind_int64(st, 1, now);
    rc = step(j, st, "cannot rewrite");
    sqlite3_finalize(st);
    for (size_t i = 0; rc == SK_OK && i < block_table_count(t); i++)
        rc = journal_add(j, block_table_at(t, i));
    return rc == SK_OK ? journal_commit(j) : rc;
}

int journal_update(struct journal *j, const struct block *b)
{
    int rc = begin(j);
    if (rc != SK_OK)
        return rc;
    sqlite3_bind_text(j->update, 1, b->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(j->update, 2, b->expires);
    sqlite3_bind_int64(j->update, 3, b->last);
    sqlite3_bind_int64(j->update, 4, b->requests);
    sqlite3_bind_int64(j->update, 5, (int64_t)b->hit_packets);
    sqlite3_bind_int64(j->update, 6, (int64_t)b->hit_bytes);
    sqlite3_bind_int64(j->update, 7, b->own);
    sqlite3_bind_text(j->update, 8, journal_fleet_text(b), -1, free);
    return step(j, j->update, "cannot update a block");
}

/* ---- reading ---- */

struct row {
    struct decide_request req;
    /* What no request says. */
    char id[BLOCK_ID_LEN];
    uint8_t origin;
    bool dry_run;
    uint32_t requests, repeat;
    int64_t created, expires, own, last;
    uint64_t hit_packets, hit_bytes;
    bool by_fleet;
    struct block_fleet fleet;
};

static bool row_addr(sqlite3_stmt *st, enum column c, struct sk_addr *out)
{
    if (sqlite3_column_bytes(st, (int)c) != 16)
        return false;
    memcpy(out->b, sqlite3_column_blob(st, (int)c), 16);
    return true;
}

static void row_text(sqlite3_stmt *st, struct decide_request *q)
{
    const unsigned char *msg = sqlite3_column_text(st, C_MSG);
    if (msg)
        snprintf(q->msg, sizeof q->msg, "%s", (const char *)msg);
    int n = sqlite3_column_bytes(st, C_EVIDENCE);
    if (n > 0 && n <= DECIDE_EVIDENCE_MAX) {
        memcpy(q->evidence, sqlite3_column_blob(st, C_EVIDENCE), (size_t)n);
        q->evidence_len = (uint16_t)n;
    }
    journal_identity_read((const char *)sqlite3_column_text(st, C_IDENTITY), q);
    journal_scores_read((const char *)sqlite3_column_text(st, C_SCORES), q);
}

static uint8_t row_reason(sqlite3_stmt *st)
{
    int r = sqlite3_column_int(st, C_REASON);
    return r >= 0 && r < DECIDE_REASON_COUNT ? (uint8_t)r : DECIDE_BY_RULE;
}

/* Who wants it, and until when. Of both kinds there may be a row from before either was written down. */
static void row_claims(sqlite3_stmt *st, struct row *r)
{
    r->by_fleet = journal_fleet_read((const char *)sqlite3_column_text(st, C_FLEET), &r->fleet);
    r->own = sqlite3_column_int64(st, C_OWN);
    if (r->origin == BLOCK_FLEET) {
        r->own = 0;
        r->fleet.expires = r->expires;
        r->by_fleet = true;
    } else if (r->own == 0 || !r->by_fleet) {
        r->own = r->expires;
    }
}

static void row_numbers(sqlite3_stmt *st, struct row *r)
{
    struct decide_request *q = &r->req;
    r->origin = (uint8_t)sqlite3_column_int(st, C_ORIGIN);
    r->created = sqlite3_column_int64(st, C_CREATED);
    r->expires = sqlite3_column_int64(st, C_EXPIRES);
    r->last = sqlite3_column_int64(st, C_LAST);
    r->requests = (uint32_t)sqlite3_column_int64(st, C_REQUESTS);
    r->hit_packets = (uint64_t)sqlite3_column_int64(st, C_HIT_PACKETS);
    r->hit_bytes = (uint64_t)sqlite3_column_int64(st, C_HIT_BYTES);
    r->repeat = (uint32_t)sqlite3_column_int64(st, C_REPEAT);
    r->dry_run = sqlite3_column_int(st, C_DRY_RUN) != 0;
    row_claims(st, r);
    q->sid = (uint32_t)sqlite3_column_int64(st, C_SID);
    q->gid = (uint32_t)sqlite3_column_int64(st, C_GID);
    q->rev = (uint32_t)sqlite3_column_int64(st, C_REV);
    q->proto = (uint8_t)sqlite3_column_int(st, C_PROTO);
    q->dropped = sqlite3_column_int(st, C_DROPPED) != 0;
    q->to_server = sqlite3_column_int(st, C_TO_SERVER) != 0;
    q->sport = (uint16_t)sqlite3_column_int(st, C_SPORT);
    q->dport = (uint16_t)sqlite3_column_int(st, C_DPORT);
    q->flow_id = (uint64_t)sqlite3_column_int64(st, C_FLOW);
    q->packet = (uint64_t)sqlite3_column_int64(st, C_PACKET);
    q->ts = sqlite3_column_int64(st, C_PACKET_TS);
    q->reason = row_reason(st);
    q->score = (uint32_t)sqlite3_column_int64(st, C_SCORE);
    q->threshold = (uint32_t)sqlite3_column_int64(st, C_THRESHOLD);
}

/* The file is ours, but a row that makes no sense must not become a block. */
static bool row_read(sqlite3_stmt *st, struct row *r)
{
    struct decide_request *q = &r->req;
    memset(r, 0, sizeof *r);
    int64_t len = sqlite3_column_int64(st, C_LEN);
    const unsigned char *id = sqlite3_column_text(st, C_ID);
    if (!id || sqlite3_column_bytes(st, C_ID) >= BLOCK_ID_LEN || len < 0 || len > 128 ||
        !row_addr(st, C_ADDR, &q->target.addr) || !row_addr(st, C_SRC, &q->src) || !row_addr(st, C_DST, &q->dst))
        return false;
    q->target = sk_prefix_make(&q->target.addr, (uint8_t)len);
    snprintf(r->id, sizeof r->id, "%s", (const char *)id);
    row_text(st, q);
    row_numbers(st, r);
    return true;
}

/* What the table does not set itself. False: out of memory. */
static bool row_state(const struct row *r, struct block *b)
{
    b->last = r->last;
    b->requests = r->requests;
    b->repeat = r->repeat;
    b->dry_run = r->dry_run;
    b->hit_packets = r->hit_packets;
    b->hit_bytes = r->hit_bytes;
    b->own = r->own;
    b->fleet = r->by_fleet ? malloc(sizeof *b->fleet) : NULL;
    if (b->fleet)
        *b->fleet = r->fleet;
    return b->fleet || !r->by_fleet;
}

/* A block of its own, for showing. */
static struct block *row_block(const struct row *r)
{
    struct block *b = block_new(&r->req);
    if (!b)
        return NULL;
    memcpy(b->id, r->id, sizeof b->id);
    b->origin = r->origin;
    b->created = r->created;
    b->expires = r->expires;
    if (row_state(r, b))
        return b;
    block_free(b);
    return NULL;
}

static int end_expired(struct journal *j, int64_t now)
{
    sqlite3_stmt *st = NULL;
    int rc = begin(j);
    if (rc != SK_OK)
        return rc;
    if (sqlite3_prepare_v2(j->db, "UPDATE block SET ended=expires,why=0 WHERE ended IS NULL AND expires<=?1", -1, &st,
                           NULL) != SQLITE_OK)
        return sql_err(j, "cannot end old blocks");
    sqlite3_bind_int64(st, 1, now);
    rc = step(j, st, "cannot end old blocks");
    sqlite3_finalize(st);
    return rc == SK_OK ? journal_commit(j) : rc;
}

int journal_switch(struct journal *j, bool dry_run, int64_t now, size_t *n)
{
    sqlite3_stmt *st = NULL;
    char sql[128];
    *n = 0;
    int rc = end_expired(j, now);
    if (rc == SK_OK)
        rc = begin(j);
    if (rc != SK_OK)
        return rc;
    snprintf(sql, sizeof sql, "UPDATE block SET ended=?1,why=%d WHERE ended IS NULL AND dry_run<>?2", JOURNAL_SWITCHED);
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot end blocks of the other kind");
    sqlite3_bind_int64(st, 1, now);
    sqlite3_bind_int(st, 2, dry_run);
    rc = step(j, st, "cannot end blocks of the other kind");
    sqlite3_finalize(st);
    if (rc == SK_OK)
        *n = (size_t)sqlite3_changes(j->db);
    return rc == SK_OK ? journal_commit(j) : rc;
}

static int load_row(struct block_table *t, const struct row *r, size_t *loaded)
{
    struct block *b;
    int rc = block_table_add(t, &r->req, r->id, (enum block_origin)r->origin, r->created, r->expires, &b);
    if (rc == SK_EEXIST)
        return SK_OK;
    if (rc != SK_OK)
        return rc;
    ++*loaded;
    return row_state(r, b) ? SK_OK : SK_ENOMEM;
}

int journal_load(struct journal *j, struct block_table *t, bool dry_run, int64_t now, size_t *loaded)
{
    sqlite3_stmt *st = NULL;
    *loaded = 0;
    int rc = end_expired(j, now);
    if (rc != SK_OK)
        return rc;
    /* Longest first: of two rows for one target (a damaged file) the longer one counts. */
    static const char sql[] = "SELECT " COLUMNS " FROM block WHERE ended IS NULL AND dry_run=?1 ORDER BY expires DESC";
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot read");
    sqlite3_bind_int(st, 1, dry_run);
    struct row r;
    int s = SQLITE_DONE;
    size_t refused = 0;
    while (rc == SK_OK && (s = sqlite3_step(st)) == SQLITE_ROW) {
        if (row_read(st, &r) && policy_check_target(&r.req.target) == POLICY_OK)
            rc = load_row(t, &r, loaded);
        else
            refused++;
    }
    if (refused > 0)
        sk_log(SK_LOG_ERROR, "journal: %zu blocks make no sense and are left out", refused);
    if (rc == SK_OK && s != SQLITE_DONE)
        rc = sql_err(j, "cannot read");
    sqlite3_finalize(st);
    return rc;
}

static void give_offender(sqlite3_stmt *st, journal_offender_fn *fn, void *arg)
{
    struct sk_addr a;
    int64_t len = sqlite3_column_int64(st, 1);
    if (sqlite3_column_bytes(st, 0) != 16 || len < 0 || len > 128)
        return;
    memcpy(a.b, sqlite3_column_blob(st, 0), 16);
    struct sk_prefix p = sk_prefix_make(&a, (uint8_t)len);
    fn(arg, &p, (uint32_t)sqlite3_column_int64(st, 2), sqlite3_column_int64(st, 3),
       (enum journal_end)sqlite3_column_int(st, 4));
}

int journal_offenders(struct journal *j, bool dry_run, int64_t since, journal_offender_fn *fn, void *arg)
{
    sqlite3_stmt *st = NULL;
    char sql[256];
    int s;
    snprintf(sql, sizeof sql,
             "SELECT addr,len,repeat,ended,why FROM block WHERE ended IS NOT NULL AND ended>=?1 AND dry_run=?2 AND"
             " (why=%d OR (why=%d AND origin=%d) OR (why=%d AND origin<>%d)) ORDER BY ended",
             JOURNAL_UNBLOCKED, JOURNAL_EXPIRED, BLOCK_RULE, JOURNAL_FLEET, BLOCK_FLEET);
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot read");
    sqlite3_bind_int64(st, 1, since);
    sqlite3_bind_int(st, 2, dry_run);
    while ((s = sqlite3_step(st)) == SQLITE_ROW)
        give_offender(st, fn, arg);
    int rc = s == SQLITE_DONE ? SK_OK : sql_err(j, "cannot read");
    sqlite3_finalize(st);
    return rc;
}

/* Each row of st, at most limit, goes to fn. Finalises st. c (may be NULL): where to go on; the row's number stands
 * behind COLUMNS. */
static int give_rows(struct journal *j, sqlite3_stmt *st, unsigned limit, journal_fn *fn, void *arg,
                     struct journal_cursor *c)
{
    struct row r;
    int s;
    unsigned n = 0;
    for (; (s = sqlite3_step(st)) == SQLITE_ROW; n++) {
        int64_t ended = sqlite3_column_int64(st, C_ENDED);
        if (c)
            *c = (struct journal_cursor){.ended = ended, .row = sqlite3_column_int64(st, C_COUNT)};
        struct block *b = row_read(st, &r) ? row_block(&r) : NULL;
        if (b)
            fn(arg, b, ended, (enum journal_end)sqlite3_column_int(st, C_WHY));
        block_free(b);
    }
    if (c)
        c->end = n < limit;
    int rc = s == SQLITE_DONE ? SK_OK : sql_err(j, "cannot read");
    sqlite3_finalize(st);
    return rc;
}

struct unblocked {
    void (*fn)(void *arg, const struct block *b);
    void *arg;
};

static void give_unblocked(void *arg, const struct block *b, int64_t ended, enum journal_end why)
{
    const struct unblocked *u = arg;
    (void)ended;
    (void)why;
    u->fn(u->arg, b);
}

int journal_unblocked(struct journal *j, int64_t now, unsigned limit, void (*fn)(void *arg, const struct block *b),
                      void *arg)
{
    sqlite3_stmt *st = NULL;
    char sql[1024];
    struct unblocked u = {fn, arg};
    snprintf(sql, sizeof sql,
             "SELECT " COLUMNS " FROM block WHERE ended IS NOT NULL AND why=%d AND expires>?1 ORDER BY ended DESC"
             " LIMIT ?2",
             JOURNAL_UNBLOCKED);
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot read");
    sqlite3_bind_int64(st, 1, now);
    sqlite3_bind_int64(st, 2, limit);
    return give_rows(j, st, limit, give_unblocked, &u, NULL);
}

int journal_history(struct journal *j, const char *id, unsigned limit, journal_fn *fn, void *arg)
{
    sqlite3_stmt *st = NULL;
    const char *sql = id ? "SELECT " COLUMNS " FROM block WHERE id=?1 LIMIT ?2"
                         : "SELECT " COLUMNS " FROM block WHERE ?1 IS NULL ORDER BY created DESC LIMIT ?2";
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot read");
    if (id)
        sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, limit);
    return give_rows(j, st, limit, fn, arg, NULL);
}

int journal_target(struct journal *j, const struct sk_prefix *target, unsigned limit, journal_fn *fn, void *arg)
{
    sqlite3_stmt *st = NULL;
    static const char sql[] = "SELECT " COLUMNS " FROM block WHERE addr=?1 AND len=?2 ORDER BY created DESC LIMIT ?3";
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot read");
    sqlite3_bind_blob(st, 1, target->addr.b, 16, SQLITE_STATIC);
    sqlite3_bind_int(st, 2, target->len);
    sqlite3_bind_int64(st, 3, limit);
    return give_rows(j, st, limit, fn, arg, NULL);
}

int journal_ended(struct journal *j, int64_t since, struct journal_cursor *c, unsigned limit, journal_fn *fn, void *arg)
{
    sqlite3_stmt *st = NULL;
    static const char sql[] = "SELECT " COLUMNS ",rowid FROM block WHERE ended IS NOT NULL AND ended>=?1 AND"
                              " ended<=?2 AND (ended<?2 OR rowid<?3) ORDER BY ended DESC,rowid DESC LIMIT ?4";
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot read");
    sqlite3_bind_int64(st, 1, since);
    sqlite3_bind_int64(st, 2, c->row == 0 ? INT64_MAX : c->ended);
    sqlite3_bind_int64(st, 3, c->row == 0 ? INT64_MAX : c->row);
    sqlite3_bind_int64(st, 4, limit);
    return give_rows(j, st, limit, fn, arg, c);
}

static int prune_by(struct journal *j, const char *sql, int64_t v)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(j->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_err(j, "cannot prune");
    sqlite3_bind_int64(st, 1, v);
    int rc = step(j, st, "cannot prune");
    sqlite3_finalize(st);
    return rc;
}

int journal_prune(struct journal *j, int64_t ended_before)
{
    int rc = begin(j);
    if (rc == SK_OK)
        rc = prune_by(j, "DELETE FROM block WHERE ended IS NOT NULL AND ended<?1", ended_before);
    if (rc == SK_OK)
        rc = prune_by(j,
                      "DELETE FROM block WHERE ended IS NOT NULL AND ended<=(SELECT ended FROM block WHERE ended IS NOT"
                      " NULL ORDER BY ended DESC LIMIT 1 OFFSET ?1)",
                      JOURNAL_HISTORY_MAX);
    int end = journal_commit(j);
    return rc == SK_OK ? end : rc;
}

const char *journal_end_name(enum journal_end why)
{
    static const char *const names[] = {
#define X(id, name) name,
        JOURNAL_ENDS(X)
#undef X
    };
    return (unsigned)why < JOURNAL_END_COUNT ? names[why] : "unknown";
}
