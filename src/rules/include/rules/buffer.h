/*
 * Inspection buffers that rules name (sticky buffers), and their facts: direction, earliest progress, whether a
 * transaction has several of them. Knows names only; who fills them is the engine's business.
 */
#ifndef RULES_BUFFER_H
#define RULES_BUFFER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/span.h"

enum rule_buf_dir { RULE_BUF_TS = 1, RULE_BUF_TC = 2, RULE_BUF_BOTH = 3 };

/*
 * X(identifier, "name", "legacy content modifier or alias" or NULL, directions, body: grows while the transaction goes
 * on, multi: a transaction may have several instances, each inspected alone) RULE_BUF_PAYLOAD is the default: packet
 * payload or raw stream. http.header and the like exist in both directions: flow:to_server / to_client says which one a
 * rule means.
 */
#define RULE_BUFFERS(X)                                                                                                \
    X(PAYLOAD, "payload", NULL, RULE_BUF_BOTH, false, false)                                                           \
    X(HTTP_URI, "http.uri", "http_uri", RULE_BUF_TS, false, false)                                                     \
    X(HTTP_URI_RAW, "http.uri.raw", "http_raw_uri", RULE_BUF_TS, false, false)                                         \
    X(HTTP_METHOD, "http.method", "http_method", RULE_BUF_TS, false, false)                                            \
    X(HTTP_HEADER, "http.header", "http_header", RULE_BUF_BOTH, false, false)                                          \
    X(HTTP_HEADER_RAW, "http.header.raw", "http_raw_header", RULE_BUF_BOTH, false, false)                              \
    X(HTTP_COOKIE, "http.cookie", "http_cookie", RULE_BUF_BOTH, false, false)                                          \
    X(HTTP_HOST, "http.host", "http_host", RULE_BUF_TS, false, false)                                                  \
    X(HTTP_HOST_RAW, "http.host.raw", "http_raw_host", RULE_BUF_TS, false, false)                                      \
    X(HTTP_USER_AGENT, "http.user_agent", "http_user_agent", RULE_BUF_TS, false, false)                                \
    X(HTTP_REFERER, "http.referer", "http_referer", RULE_BUF_TS, false, false)                                         \
    X(HTTP_CONTENT_TYPE, "http.content_type", "http_content_type", RULE_BUF_BOTH, false, false)                        \
    X(HTTP_CONTENT_LEN, "http.content_len", "http_content_len", RULE_BUF_BOTH, false, false)                           \
    X(HTTP_ACCEPT, "http.accept", "http_accept", RULE_BUF_TS, false, false)                                            \
    X(HTTP_ACCEPT_ENC, "http.accept_enc", "http_accept_enc", RULE_BUF_TS, false, false)                                \
    X(HTTP_ACCEPT_LANG, "http.accept_lang", "http_accept_lang", RULE_BUF_TS, false, false)                             \
    X(HTTP_CONNECTION, "http.connection", "http_connection", RULE_BUF_BOTH, false, false)                              \
    X(HTTP_START, "http.start", "http_start", RULE_BUF_BOTH, false, false)                                             \
    X(HTTP_REQUEST_LINE, "http.request_line", "http_request_line", RULE_BUF_TS, false, false)                          \
    X(HTTP_RESPONSE_LINE, "http.response_line", "http_response_line", RULE_BUF_TC, false, false)                       \
    X(HTTP_REQUEST_BODY, "http.request_body", "http_client_body", RULE_BUF_TS, true, false)                            \
    X(HTTP_RESPONSE_BODY, "http.response_body", "http_server_body", RULE_BUF_TC, true, false)                          \
    X(HTTP_STAT_CODE, "http.stat_code", "http_stat_code", RULE_BUF_TC, false, false)                                   \
    X(HTTP_STAT_MSG, "http.stat_msg", "http_stat_msg", RULE_BUF_TC, false, false)                                      \
    X(HTTP_HEADER_NAMES, "http.header_names", "http_header_names", RULE_BUF_BOTH, false, false)                        \
    X(HTTP_PROTOCOL, "http.protocol", "http_protocol", RULE_BUF_BOTH, false, false)                                    \
    X(HTTP_LOCATION, "http.location", NULL, RULE_BUF_TC, false, false)                                                 \
    X(HTTP_SERVER, "http.server", NULL, RULE_BUF_TC, false, false)                                                     \
    X(HTTP_REQUEST_HEADER, "http.request_header", NULL, RULE_BUF_TS, false, true)                                      \
    X(HTTP_RESPONSE_HEADER, "http.response_header", NULL, RULE_BUF_TC, false, true)                                    \
    X(FILE_DATA, "file.data", "file_data", RULE_BUF_BOTH, true, false)

enum rule_buf {
#define X(id, name, legacy, dir, body, multi) RULE_BUF_##id,
    RULE_BUFFERS(X)
#undef X
        RULE_BUF_COUNT
};

struct rule_buf_info {
    const char *name, *legacy;
    uint8_t dir; /* enum rule_buf_dir */
    bool body, multi;
};
extern const struct rule_buf_info rule_buf_info[RULE_BUF_COUNT];

/* Transformations of a buffer before matching, in order (Suricata's names). */
enum rule_transform {
    RULE_XF_DOTPREFIX,
    RULE_XF_STRIP_WHITESPACE,
    RULE_XF_COMPRESS_WHITESPACE,
    RULE_XF_TO_LOWERCASE,
    RULE_XF_TO_UPPERCASE,
    RULE_XF_URL_DECODE,
    RULE_XF_TO_MD5,
    RULE_XF_TO_SHA1,
    RULE_XF_TO_SHA256,
    RULE_XF_HEADER_LOWERCASE,
    RULE_XF_STRIP_PSEUDO_HEADERS
};
#define RULE_MAX_TRANSFORMS 4

/*
 * Applies transforms; out has cap bytes. Returns the length, or -1 when it does not fit (the caller then treats the
 * buffer as absent and counts). A transform's output is never longer than its input + 64.
 */
int rule_transform_apply(const uint8_t *xf, unsigned n, struct sk_span in, uint8_t *out, uint32_t cap);

#endif
