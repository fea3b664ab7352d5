#include <errno.h>
#include <stdlib.h>
#include "transfer.h"

#define LOOP_EXTRA_MAX 64 /* descriptors of the caller in one wait */

struct job {
    struct job *prev, *next;
    uint64_t id;
    fetch_fn *fn;
    void *arg;
    struct transfer t;
};

struct fetch_loop {
    CURLM *multi;
    struct job *jobs;
    uint64_t last_id;
    unsigned active;
};

int fetch_loop_create(struct fetch_loop **out)
{
    *out = NULL;
    struct fetch_loop *l = (struct fetch_loop *)calloc(1, sizeof *l);
    if (l == NULL)
        return SK_ENOMEM;
    l->multi = curl_multi_init();
    if (l->multi == NULL) {
        free(l);
        return SK_ENOMEM;
    }
    *out = l;
    return SK_OK;
}

static void link_job(struct fetch_loop *l, struct job *j)
{
    j->next = l->jobs;
    if (j->next != NULL)
        j->next->prev = j;
    l->jobs = j;
    l->active++;
}

static void unlink_job(struct fetch_loop *l, struct job *j)
{
    if (j->prev != NULL)
        j->prev->next = j->next;
    else
        l->jobs = j->next;
    if (j->next != NULL)
        j->next->prev = j->prev;
    l->active--;
    curl_multi_remove_handle(l->multi, j->t.easy);
}

static void free_job(struct job *j)
{
    curl_easy_cleanup(j->t.easy);
    transfer_clear(&j->t);
    free(j);
}

static int add_job(struct fetch_loop *l, struct job *j)
{
    if (curl_easy_setopt(j->t.easy, CURLOPT_PRIVATE, j) != CURLE_OK ||
        curl_multi_add_handle(l->multi, j->t.easy) != CURLM_OK)
        return SK_ENOMEM;
    link_job(l, j);
    j->id = ++l->last_id;
    return SK_OK;
}

int fetch_start(struct fetch_loop *l, const struct fetch_request *q, fetch_fn *fn, void *arg, uint64_t *id)
{
    struct job *j = (struct job *)calloc(1, sizeof *j);
    CURL *easy = j != NULL ? curl_easy_init() : NULL;
    int rc = easy == NULL ? SK_ENOMEM : transfer_begin(&j->t, easy, q, true);
    if (rc == SK_OK) {
        j->fn = fn;
        j->arg = arg;
        rc = add_job(l, j);
    }
    if (rc != SK_OK) {
        if (j != NULL)
            transfer_clear(&j->t);
        curl_easy_cleanup(easy);
        free(j);
    } else if (id != NULL) {
        *id = j->id;
    }
    return rc;
}

void fetch_cancel(struct fetch_loop *l, uint64_t id)
{
    for (struct job *j = l->jobs; j != NULL; j = j->next)
        if (j->id == id) {
            unlink_job(l, j);
            free_job(j);
            return;
        }
}

unsigned fetch_active(const struct fetch_loop *l)
{
    return l->active;
}

void fetch_loop_free(struct fetch_loop *l)
{
    if (l == NULL)
        return;
    while (l->jobs != NULL) {
        struct job *j = l->jobs;
        unlink_job(l, j);
        free_job(j);
    }
    curl_multi_cleanup(l->multi);
    free(l);
}

/* The callback may start and cancel: its own job is out of the loop before. */
static unsigned run_callbacks(struct fetch_loop *l)
{
    unsigned ran = 0;
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(l->multi, &left)) != NULL;) {
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode rc = m->data.result; /* m goes with the handle */
        char *private = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        struct job *j = (struct job *)private;
        unlink_job(l, j);
        transfer_finish(&j->t, rc);
        j->fn(j->arg, &j->t.r);
        free_job(j);
        ran++;
    }
    return ran;
}

static int work(struct fetch_loop *l, unsigned *ran)
{
    int running;
    if (curl_multi_perform(l->multi, &running) != CURLM_OK)
        return SK_EIO;
    *ran += run_callbacks(l);
    return SK_OK;
}

static unsigned to_waitfds(const struct pollfd *extra, unsigned n, struct curl_waitfd *w)
{
    unsigned k = 0;
    for (unsigned i = 0; i < n; i++) {
        if (extra[i].fd < 0)
            continue;
        w[k] = (struct curl_waitfd){.fd = extra[i].fd};
        w[k].events |= (extra[i].events & POLLIN) ? CURL_WAIT_POLLIN : 0;
        w[k].events |= (extra[i].events & POLLPRI) ? CURL_WAIT_POLLPRI : 0;
        w[k].events |= (extra[i].events & POLLOUT) ? CURL_WAIT_POLLOUT : 0;
        k++;
    }
    return k;
}

/* curl tells neither POLLHUP nor POLLERR of the caller's descriptors: they are asked once more. */
static int wait_for(struct fetch_loop *l, struct pollfd *extra, unsigned n, int timeout_ms)
{
    struct curl_waitfd w[LOOP_EXTRA_MAX];
    unsigned k = to_waitfds(extra, n, w);
    if (curl_multi_poll(l->multi, w, k, timeout_ms, NULL) != CURLM_OK)
        return SK_EIO;
    if (n > 0 && poll(extra, n, 0) < 0 && errno != EINTR)
        return SK_EIO;
    return SK_OK;
}

int fetch_loop_run(struct fetch_loop *l, struct pollfd *extra, unsigned n, int timeout_ms)
{
    if (n > LOOP_EXTRA_MAX)
        return SK_EFULL;
    for (unsigned i = 0; i < n; i++)
        extra[i].revents = 0;
    unsigned ran = 0;
    int rc = work(l, &ran);
    if (rc == SK_OK)
        rc = wait_for(l, extra, n, ran > 0 || timeout_ms < 0 ? 0 : timeout_ms);
    if (rc == SK_OK)
        rc = work(l, &ran);
    return rc;
}
