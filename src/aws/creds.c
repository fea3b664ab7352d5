/* The chain of sources, and how long what they gave is used. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include "aws_priv.h"
#include "base/clock.h"

#define REFRESH_BEFORE (15 * 60 * SK_NS_PER_S) /* of their end */
#define FILE_RECHECK   (60 * SK_NS_PER_S)      /* files are replaced by whoever hands out sessions */
#define RETRY_GAP      (30 * SK_NS_PER_S)      /* while the old ones last and the source fails */
#define EMPTY_GAP      SK_NS_PER_S             /* while there are none */

static bool usable(const struct aws *a, int64_t now)
{
    return a->have && (a->creds.expires == 0 || now < a->creds.expires);
}

/* With what we have, is it time to ask the sources? */
static bool due(const struct aws *a, int64_t now)
{
    int64_t since = now - a->asked;
    if (since < 0) /* the clock was put back, or corrected */
        return true;
    if (!usable(a, now))
        return since >= EMPTY_GAP;
    if (a->rejected)
        return since >= EMPTY_GAP;
    if (a->creds.expires != 0)
        return now >= a->creds.expires - REFRESH_BEFORE && since >= RETRY_GAP;
    return strcmp(a->creds.source, "shared-file") == 0 && since >= FILE_RECHECK;
}

static int ask_sources(struct aws *a, int64_t now, struct aws_creds *out, char *why, size_t cap)
{
    static source_fn *const chain[] = {source_environment, source_file, source_container, source_imds};
    int rc = SK_ENOENT;
    for (size_t i = 0; i < sizeof chain / sizeof *chain && rc == SK_ENOENT; i++) {
        *out = (struct aws_creds){0};
        rc = chain[i](a, now, out, why, cap);
    }
    return rc;
}

static int refresh(struct aws *a, int64_t now, char *why, size_t cap)
{
    struct aws_creds fresh = {0};
    int rc = ask_sources(a, now, &fresh, why, cap);
    a->asked = now;
    if (rc == SK_OK) {
        a->creds = fresh;
        a->have = true;
        a->rejected = false;
    }
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return rc;
}

int aws_creds_get(struct aws *a, int64_t now, struct aws_creds *out, char *why, size_t cap)
{
    *out = (struct aws_creds){0};
    int rc = SK_ENOENT;
    snprintf(why, cap, "the sources of credentials were asked a moment ago");
    now += __atomic_load_n(&a->skew, __ATOMIC_RELAXED);
    pthread_mutex_lock(&a->lock);
    if (a->asked == 0 || due(a, now))
        rc = refresh(a, now, why, cap);
    if (usable(a, now)) {
        *out = a->creds;
        rc = SK_OK;
    }
    pthread_mutex_unlock(&a->lock);
    if (rc == SK_OK)
        why[0] = '\0';
    return rc;
}
