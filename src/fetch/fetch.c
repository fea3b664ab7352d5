#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "transfer.h"

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;
static bool ready;
static _Thread_local CURL *kept; /* its connections outlive a request */

int fetch_init(void)
{
    pthread_mutex_lock(&init_lock);
    if (!ready)
        ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    int rc = ready ? SK_OK : SK_ENOMEM;
    pthread_mutex_unlock(&init_lock);
    return rc;
}

static CURL *thread_easy(void)
{
    if (kept == NULL)
        kept = curl_easy_init();
    else
        curl_easy_reset(kept);
    return kept;
}

void fetch_thread_end(void)
{
    curl_easy_cleanup(kept);
    kept = NULL;
}

int fetch_do(const struct fetch_request *q, struct fetch_response *r)
{
    *r = (struct fetch_response){.result = FETCH_FAILED, .retry_after = -1, .text = "out of memory"};
    struct transfer *t = (struct transfer *)calloc(1, sizeof *t);
    CURL *easy = t != NULL ? thread_easy() : NULL;
    if (easy != NULL) {
        if (transfer_begin(t, easy, q, false) == SK_OK)
            transfer_finish(t, curl_easy_perform(easy));
        *r = t->r;
        t->r.body = NULL;
        transfer_clear(t);
        curl_easy_reset(easy); /* it must not point to what is gone */
    }
    free(t);
    return r->result == FETCH_ANSWERED ? SK_OK : SK_EIO;
}

void fetch_response_free(struct fetch_response *r)
{
    if (r->body != NULL)
        explicit_bzero(r->body, r->body_len);
    free(r->body);
    *r = (struct fetch_response){.result = FETCH_FAILED, .retry_after = -1};
}
