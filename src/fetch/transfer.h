/* One request under way: an easy handle set up for it, and what has come back so far. */
#ifndef FETCH_TRANSFER_H
#define FETCH_TRANSFER_H

#include <curl/curl.h>
#include "fetch/fetch.h"

#define TRANSFER_HEADER_BYTES (1u << 16) /* of all header lines of an answer; more is FETCH_TOO_LARGE */

struct transfer {
    CURL *easy;
    struct curl_slist *headers;
    char *body; /* of the request, copied; NULL: the caller's, or none */
    size_t body_len;
    struct fetch_response r;
    size_t body_cap, body_max, header_bytes;
    char retry_after[64]; /* as it came; "" : not */
    bool too_large, no_memory;
    char errbuf[CURL_ERROR_SIZE];
};

/* easy has no options set. On failure t holds nothing; r->text says why. copy: the body of q need not stay. */
SK_MUST_USE int transfer_begin(struct transfer *t, CURL *easy, const struct fetch_request *q, bool copy);
/* After curl is done with it: fills t->r. */
void transfer_finish(struct transfer *t, CURLcode rc);
/* All but the easy handle, and but the answer when it has been taken from t->r. */
void transfer_clear(struct transfer *t);

/* Takes one header line, with or without its end. */
void transfer_header(struct transfer *t, const char *line, size_t len);
/* Seconds, from a Retry-After value: digits or a date, which counts from `date` (wall ns). -1: neither. */
int64_t transfer_retry_after(const char *value, int64_t date);

#endif
