#include "checkpoint.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PASSES 3 /* what is written meanwhile is moved too: a log that is moved whole begins anew */

struct checkpoint {
    char *path;
    pthread_t thread;
    pthread_mutex_t lock; /* guards asked and ending */
    pthread_cond_t changed;
    bool asked, ending;
};

/* False: it is to end. */
static bool wait_for_work(struct checkpoint *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->asked && !c->ending)
        pthread_cond_wait(&c->changed, &c->lock);
    c->asked = false;
    bool go_on = !c->ending;
    pthread_mutex_unlock(&c->lock);
    return go_on;
}

/* A failure is nothing that the next commit would not meet as well, and tell. */
static void move_log(sqlite3 *db)
{
    int in_log = 0, moved = -1;
    for (int i = 0; i < PASSES && moved != in_log; i++)
        if (sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved) != SQLITE_OK)
            return;
}

/* A connection that has read nothing does not know of the log. */
static sqlite3 *open_file(const char *path)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_exec(db, "PRAGMA user_version", NULL, NULL, NULL) == SQLITE_OK)
        return db;
    sqlite3_close(db);
    return NULL;
}

static void *run(void *arg)
{
    struct checkpoint *c = arg;
    sqlite3 *db = NULL;
    (void)pthread_setname_np(pthread_self(), "sekisho-journal");
    while (wait_for_work(c)) {
        if (!db)
            db = open_file(c->path);
        if (db)
            move_log(db);
    }
    sqlite3_close(db);
    return NULL;
}

struct checkpoint *checkpoint_start(const char *path)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    sigset_t all, old;
    if (!c || !(c->path = strdup(path))) {
        free(c);
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    sigfillset(&all); /* signals are for whoever waits for them */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        return c;
    free(c->path);
    free(c);
    return NULL;
}

void checkpoint_ask(struct checkpoint *c)
{
    pthread_mutex_lock(&c->lock);
    c->asked = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void checkpoint_stop(struct checkpoint *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->ending = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    free(c->path);
    free(c);
}
