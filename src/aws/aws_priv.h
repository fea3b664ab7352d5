/* What the files of this module share. */
#ifndef AWS_PRIV_H
#define AWS_PRIV_H

#include <pthread.h>
#include "aws/aws.h"
#include "base/span.h"
#include "fetch/fetch.h"

#define AWS_URL_MAX      2048
#define AWS_TIMEOUT_MS   10000
#define SOURCE_TIMEOUT   2000      /* ms, of one request to IMDS or to a container's endpoint */
#define AWS_FILE_MAX     (1 << 20) /* bytes of a credentials or configuration file */
#define AWS_RESPONSE_MAX (4u << 20)

/* The environment, as it was when the process opened us: it is not read later, when there are threads. Owned. */
struct aws_env {
    char *access_key, *secret_key, *token;
    char *profile, *credentials_file, *config_file, *region;
    char *container_relative, *container_full, *container_token, *container_token_file;
    bool imds_disabled;
};

struct aws {
    char *endpoint, *imds, *ca_file; /* endpoint, ca_file: NULL when not given */
    bool no_files;
    bool profile_given; /* by options: then the environment's keys do not count */
    int timeout_ms;
    struct fetch_tls tls;
    struct aws_env env;
    pthread_mutex_t lock; /* of all below but skew */
    struct aws_creds creds;
    bool have, rejected; /* rejected: the service says that these have expired */
    int64_t asked;       /* when the sources were last asked; corrected wall ns */
    int64_t skew;        /* ns, to be added to our clock; atomic */
};

/* One source. SK_ENOENT: it is not there, go on to the next; else: it is, and fails. why says so, without a secret. */
typedef int source_fn(struct aws *a, int64_t now, struct aws_creds *out, char *why, size_t cap);
source_fn source_environment, source_file, source_container, source_imds;

/* GET of a path of IMDS, with a token that is asked for first. path begins with '/'. */
SK_MUST_USE int imds_get(struct aws *a, const char *path, struct fetch_response *r, char *why, size_t cap);

/* {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}: what a container's endpoint and IMDS answer. */
SK_MUST_USE int creds_read_json(const char *body, size_t len, int64_t now, struct aws_creds *out, char *why,
                                size_t cap);
/* Of an INI file: key's value in [section], copied to buf; SK_ENOENT; SK_EFULL. The last one of several counts. */
SK_MUST_USE int ini_get(struct sk_span text, const char *section, const char *key, char *buf, size_t cap);
/* Only what may stand in a header: no space, no control. */
SK_MUST_USE int creds_copy(char *buf, size_t cap, const char *s);
/* "2026-01-02T03:04:05Z", wall ns. */
SK_MUST_USE int aws_time_parse(const char *s, int64_t *out);

/* Fills error, code and message of *out from an answer that is not 2xx. error_type: of the header, "" none. */
void answer_read_error(struct aws_answer *out, const char *error_type, struct sk_span body);
/* The text of the first <name>...</name>, entities as they are; length 0: none. Enough for elements that hold only
 * text. */
struct sk_span answer_xml_text(struct sk_span body, const char *name);
/* Does this answer say that our clock is wrong, if date (wall ns) is right and ours is `now`? */
bool answer_blames_clock(const struct aws_answer *r, int64_t date, int64_t now);

#endif
