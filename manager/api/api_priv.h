/*
 * Inside of the API. Three threads:
 *
 *   network (libmicrohttpd's)    request → route, limits, certificate → JSON, fields → suspended, into the queue
 *   store   (work.c)             the queue → one transaction → commit → answers, resumed; news of entries → feed
 *   feed    (poll.c)             waiting polls are woken, at a bounded rate; clients that are too slow are closed
 *
 * A struct req is its connection's; between suspension and resumption it belongs to the thread that has it, and nobody
 * else touches it. Locks: conns.lock, work.lock, feed.lock; none is taken while another is held.
 */
#ifndef API_PRIV_H
#define API_PRIV_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <jansson.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include "api/api.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/rate.h"
#include "base/strbuf.h"
#include "store/store.h"

#define API_BODY_SMALL   (64u << 10) /* of all requests but events */
#define API_BODIES_MAX   (64u << 20) /* of all requests together; more: 503 */
#define API_DISCARD_MAX  (4u << 20)  /* a refused body up to here is read, so that the answer is; more: closed */
#define API_POOL         (8u << 10)  /* of a connection: a request's head; a longer one is refused by the library */
#define API_JSON_DEPTH   16          /* deeper: 400 */
#define API_JSON_VALUES  65536       /* more in one body: 400 */
#define API_ITEMS_MAX    500         /* of a batch; more: 413 */
#define API_QUEUE_MAX    8192        /* requests that wait for the store; more: 503 */
#define API_GROUP_MAX    256         /* requests in one transaction */
#define API_AGENT_HELD   6           /* requests of one agent at a time, polls apart; more: 429 */
#define API_HEAD_S       10          /* handshake and head of a request */
#define API_BODY_S       30          /* body of a request */
#define API_IDLE_S       75          /* between two requests, with a certificate of ours; else API_HEAD_S */
#define API_PRESSED_S    2           /* instead of API_HEAD_S when nine tenths of the connections are taken */
#define API_TAKE_S       30          /* to take an answer, and a second more for each API_TAKE_RATE bytes */
#define API_TAKE_RATE    (64u << 10)
#define API_LATE         (7 * 24 * 3600 * SK_NS_PER_S) /* a certificate may be over so long, for renewal */
#define API_STOP_MS      5000                          /* that api_stop waits for what is under way */
#define API_PAGE_ENTRIES 1000                          /* of a feed answer */
#define API_PAGE_BYTES   (256u << 10)                  /* likewise */
#define API_WAIT_MAX     60                            /* s of a poll */
#define API_LIST_MAX     1000                          /* of the operators' lists */
#define API_LIST_BYTES   (64u << 20)                   /* of an answer; more is not given (503) */
#define API_ENTRIES_MAX  1000000 /* entries in memory; further ones are not told to agents, and that is logged */
#define API_JSON_INT_MAX INT64_C(9007199254740991) /* 2^53 - 1: what every JSON reader takes */
#define API_BITS_V4      16                        /* widest block of an operator */
#define API_BITS_V6      32
#define API_AGENT_V4     24 /* of an agent, as an engine's (decide/policy.h): a stolen certificate is everybody's block */
#define API_AGENT_V6     64

/* --- answers (answer.c) --- */

#define API_CODES(X)                                                                                                   \
    X(BAD_REQUEST, 400, "bad_request", "The request is malformed.")                                                    \
    X(BAD_JSON, 400, "bad_json", "The body is not JSON as it is wanted here.")                                         \
    X(BAD_FIELD, 400, "bad_field", "A field is missing, or of a wrong type or form.")                                  \
    X(BAD_PARAMETER, 400, "bad_parameter", "A parameter is missing, or of a wrong form.")                              \
    X(CERT_REQUIRED, 401, "certificate_required", "A client certificate is required.")                                 \
    X(CERT_REFUSED, 401, "certificate_refused", "The client certificate is not one of this manager's agents.")         \
    X(CERT_EXPIRED, 401, "certificate_expired", "The client certificate is not within its time.")                      \
    X(AGENT_UNKNOWN, 401, "agent_unknown", "This agent is not known.")                                                 \
    X(TOKEN_REQUIRED, 401, "token_required", "A bearer token is required.")                                            \
    X(TOKEN_UNKNOWN, 401, "token_unknown", "This token is not known.")                                                 \
    X(OP_EXPIRED, 401, "token_expired", "The token's time is over.")                                                   \
    X(OP_REVOKED, 401, "token_revoked", "The token has been revoked.")                                                 \
    X(OP_USED_UP, 401, "token_used_up", "The token has been used up.")                                                 \
    X(TOKEN_EXPIRED, 403, "token_expired", "The token's time is over.")                                                \
    X(TOKEN_REVOKED, 403, "token_revoked", "The token has been revoked.")                                              \
    X(TOKEN_USED_UP, 403, "token_used_up", "The token has been used up.")                                              \
    X(IDENTITY_REQUIRED, 403, "identity_required", "An instance identity document is required.")                       \
    X(IDENTITY_REFUSED, 403, "identity_refused", "The instance identity document is refused.")                         \
    X(AGENT_REVOKED, 403, "agent_revoked", "The agent has been revoked.")                                              \
    X(AGENT_RETIRED, 403, "agent_retired", "The agent has been retired.")                                              \
    X(CERT_REPLACED, 403, "certificate_replaced", "A newer certificate of this agent is in use.")                      \
    X(ROLE, 403, "role", "The token's role does not allow this.")                                                      \
    X(TARGET_REFUSED, 403, "target_refused", "This target must not be blocked, or not for so long.")                   \
    X(NOT_FOUND, 404, "not_found", "There is no such thing here.")                                                     \
    X(METHOD, 405, "method_not_allowed", "The method is not allowed here.")                                            \
    X(INSTANCE_JOINED, 409, "instance_joined", "This instance has joined already.")                                    \
    X(REVOKED, 409, "revoked", "The agent has been revoked, and stays so.")                                            \
    X(GAP, 409, "gap", "Batches are missing before this one.")                                                         \
    X(LENGTH_REQUIRED, 411, "length_required", "A Content-Length is required.")                                        \
    X(TOO_LARGE, 413, "too_large", "The request is too large.")                                                        \
    X(TYPE, 415, "unsupported_type", "The Content-Type must be application/json.")                                     \
    X(TOO_MANY, 429, "too_many", "Too many requests.")                                                                 \
    X(UNAVAILABLE, 503, "unavailable", "The store does not answer.")                                                   \
    X(BUSY, 503, "busy", "Too much is waiting.")                                                                       \
    X(STOPPING, 503, "stopping", "The manager is being stopped.")

enum api_code {
    API_FINE,
#define X(sym, status, name, text) API_##sym,
    API_CODES(X)
#undef X
        API_CODE_COUNT
};

/* An answer's body, shared by requests; the last that lets go frees it. */
struct body {
    struct MHD_Response *http;
    const char *text; /* the response's */
    size_t len;
    unsigned refs;
};

struct api;
struct req;

unsigned code_status(enum api_code c);
const char *code_name(enum api_code c);
/* Takes the text (its memory); the buffer is empty behind it. NULL: full or no memory. */
struct body *body_of(struct sk_strbuf *b);
struct body *body_empty(void);
struct body *body_of_code(enum api_code c);
struct body *body_hold(struct body *b);
void body_drop(struct body *b); /* NULL is fine */
void body_header(struct body *b, const char *name, const char *value);

/* These set r's answer, in place of one that is there. */
void answer_json(struct req *r, unsigned status, struct sk_strbuf *b);
void answer_body(struct req *r, unsigned status, struct body *b);     /* takes the reference */
void answer_empty(struct req *r);                                     /* 204 */
void answer_code(struct req *r, enum api_code c, const char *detail); /* detail: static text for the log; may be NULL */
void answer_clear(struct req *r);

/* JSON text, piece by piece; a comma comes where one is needed. */
void out_open(struct sk_strbuf *b, const char *key, char bracket); /* key NULL: within an array, or first */
void out_close(struct sk_strbuf *b, char bracket);
void out_str(struct sk_strbuf *b, const char *key, const char *s);
void out_strn(struct sk_strbuf *b, const char *key, const char *s, size_t len);
void out_int(struct sk_strbuf *b, const char *key, int64_t n);
void out_bool(struct sk_strbuf *b, const char *key, bool v);
void out_raw(struct sk_strbuf *b, const char *key, const char *json);
void out_prefix(struct sk_strbuf *b, const char *key, const struct sk_prefix *p);
void out_base64(struct sk_strbuf *b, const char *key, const uint8_t *p, size_t len); /* at most 64 bytes */

/* --- JSON and fields (parse.c) --- */

/* Depth, number of values, duplicate keys, UTF-8. NULL: refused. The text must be an object. */
json_t *parse_json(const char *text, size_t len);

enum charset { SET_TEXT, SET_HOST, SET_VERSION, SET_ID, SET_SPOOL, SET_WORD, SET_EPOCH, SET_ANY };
bool text_fits(const char *s, size_t len, enum charset set, size_t min, size_t max);
/* A field that is missing leaves *out alone, and is wrong only when it must be there; likewise below. */
bool field_str(const json_t *o, const char *key, bool must, enum charset set, size_t max, const char **out);
bool field_int(const json_t *o, const char *key, bool must, int64_t min, int64_t max, int64_t *out);
/* As field_int; JSON's null is `null_is`. */
bool field_int_null(const json_t *o, const char *key, int64_t min, int64_t max, int64_t null_is, int64_t *out);
bool field_prefix(const json_t *o, const char *key, struct sk_prefix *out);
/* A text for people: at most 120 characters of Unicode. */
bool field_note(const json_t *o, const char *key, const char **out);
/* Tags as compact JSON into buf of STORE_TEXT_MAX; "{}" when missing. */
bool field_tags(const json_t *o, const char *key, char *buf);
bool prefix_of(const char *s, size_t len, struct sk_prefix *out);

bool param_str(struct req *r, const char *key, enum charset set, size_t max, char *buf, size_t cap);
bool param_int(struct req *r, const char *key, int64_t min, int64_t max, int64_t *out);
bool param_bool(struct req *r, const char *key, bool *out);
bool param_prefix(struct req *r, const char *key, bool *given, struct sk_prefix *out);

/* --- items of a batch (item.c) --- */

enum item_kind { ITEM_WRONG, ITEM_EVENT, ITEM_BLOCK, ITEM_END };
struct item {
    enum item_kind kind;
    const char *refused;      /* ITEM_WRONG: why, static */
    struct store_event event; /* json is to be freed */
    struct store_block block; /* also of ITEM_END: id, ended, why */
};
struct item_rules {
    const struct sk_prefix *never;
    size_t nnever;
    int64_t max_block; /* ms */
};
/* Everything is checked. */
void item_read(const struct item_rules *rules, const json_t *o, int64_t now, struct item *out);
void item_free(struct item *i);
/* May this be blocked? NULL, or why not. */
const char *item_target_refused(const struct item_rules *rules, const struct sk_prefix *p);

/* --- connections (conn.c) --- */

enum peer_state { PEER_UNKNOWN, PEER_NONE, PEER_REFUSED, PEER_EXPIRED, PEER_AGENT };

struct conn {
    struct conn *prev, *next; /* conns.lock, as the deadline */
    int fd;
    int64_t deadline; /* mono ns */
    struct sk_addr addr;
    enum peer_state peer; /* network thread; looked at once */
    struct pki_cert cert; /* PEER_AGENT and PEER_EXPIRED */
    bool handled;         /* a request has been answered */
};

struct conns {
    pthread_mutex_t lock;
    struct conn *head;
    unsigned n;
};

void conns_notify(void *arg, struct MHD_Connection *c, void **ctx, enum MHD_ConnectionNotificationCode code);
/* Whoever is past its deadline is closed. */
void conns_sweep(struct api *a, int64_t now);
void conn_deadline(struct api *a, struct conn *c, int64_t deadline); /* INT64_MAX: none */
struct conn *conn_of(struct MHD_Connection *c);

/* Server certificate and clients' (tls.c). One API a process: the library asks for the certificate without a context.
 */
int tls_set_certificate(const char *cert_pem, const char *key_pem);
void tls_clear(void);
int tls_retrieve(gnutls_session_t s, const gnutls_datum_t *ca_dn, int nca_dn, const gnutls_pk_algorithm_t *algos,
                 int nalgos, gnutls_pcert_st **pcert, unsigned int *npcert, gnutls_privkey_t *key);
void tls_look_at_peer(struct api *a, struct MHD_Connection *c, struct conn *k);

/* --- rates of addresses (limit.c); network thread --- */

#define LIMIT_SLOTS 16384 /* addresses remembered; the longest silent of four makes place */
struct limit_slot {
    struct sk_addr addr; /* IPv6: its /64 */
    int64_t seen;
    struct sk_rate requests, connects;
};
struct limiter {
    struct sk_hash_key key;
    struct limit_slot *slots;
};
int limiter_init(struct limiter *l);
bool limiter_take(struct limiter *l, const struct sk_addr *a, bool connect, uint32_t rate, int64_t now);

/* --- routes (route.c) --- */

enum auth { AUTH_NONE, AUTH_AGENT, AUTH_AGENT_LATE, AUTH_OPERATOR, AUTH_ADMIN };
enum body_want { BODY_NONE, BODY_JSON, BODY_MAY };

struct route {
    const char *method, *path; /* "{id}" stands for one segment, which must be `arg` */
    enum auth auth;
    enum body_want body;
    uint32_t body_max;
    /* Network thread: the request's parameters and fields into r->in. */
    enum api_code (*check)(struct req *r);
    /* Store thread, inside a transaction, maybe more than once: sets an answer. SK_OK; SK_EIO: the store failed;
     * SK_EAGAIN: its part must be undone, the answer stands. NULL: answered by check. */
    int (*run)(struct api *a, struct req *r);
};

/* NULL: no such path, or *allow says what methods it has. */
const struct route *route_find(const char *method, const char *path, char arg[32], const char **allow);
unsigned route_count(void);
const struct route *route_at(unsigned i);

/* --- requests (http.c) --- */

struct req_in { /* what check found */
    const char *token, *csr, *host, *version, *identity, *spool, *reason;
    char *status; /* its own */
    char token_hash[STORE_HASH_LEN], tags[STORE_TEXT_MAX];
    int64_t seq, rules, policy, seconds, uses, after, before, limit;
    bool in_force, by_target, admin;
    enum store_token_kind kind;
    struct sk_prefix target;
    char epoch[STORE_SPOOL_LEN], agent[STORE_AGENT_LEN], type[16], state[16];
    int wait_s;
};

struct req {
    struct req *next; /* work's queue, or lists of its own thread */
    struct api *api;
    struct MHD_Connection *http;
    struct conn *conn;
    const struct route *route;
    char arg[32];
    const char *allow;
    enum api_code refused; /* when the head was seen */
    bool close, done, head;
    size_t counted; /* in api.bodies */
    struct sk_strbuf text;
    json_t *json;
    struct req_in in;
    struct pki_cert cert;      /* of the agent, when the route is an agent's */
    char hash[STORE_HASH_LEN]; /* of the operator's token */
    char who[STORE_ID_LEN];    /* operator's token ID */
    unsigned status;
    struct body *answer;
    enum api_code code;
    const char *detail;
    bool renew, counted_held, park; /* park: nothing is wrong, it waits for news */
    int64_t since, checked;         /* mono ns: begun; certificate last checked by the store */
    /* polls: feed.lock */
    struct req *poll_prev, *poll_next;
    struct agent *agent;
    int64_t until;
    bool woken;
};

enum MHD_Result http_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                             const char *version, const char *upload, size_t *upload_size, void **state);
void http_completed(void *arg, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why);
enum MHD_Result http_accept(void *arg, const struct sockaddr *sa, socklen_t len);
/* From any thread: the answer is set, the connection goes on. r is not the caller's any more. */
void http_resume(struct req *r);

/* --- the store's thread (work.c) --- */

struct work {
    pthread_mutex_t lock;
    struct req *head, **tail;
    unsigned n;
    int wake; /* eventfd */
    pthread_t thread;
    bool started, stop;
    struct store *store;
    struct body *bundle[2]; /* the thread's own, as all below */
    int64_t bundle_version[2];
    bool changed;   /* entries, by this transaction */
    int64_t loaded; /* number up to which entries are in the feed */
    int64_t looked;
    struct sk_rate log_rate;
};

int work_start(struct api *a, char *why, size_t cap);
void work_stop(struct api *a);
/* false: full. */
bool work_put(struct api *a, struct req *r);
bool work_full(struct api *a);

/* --- the feed (feed.c, poll.c) --- */

struct feed_item {
    int64_t seq, expires; /* expires 0: lifted */
    struct sk_prefix target;
    char *json; /* NULL: a newer one is further on */
    uint32_t len;
};
#define FEED_CACHE 64
struct feed_cached {
    int64_t after, seq;
    unsigned flavour;
    bool more;
    struct body *body;
};

/* An agent that has been here since the start. */
struct agent {
    struct agent *next;
    char id[STORE_AGENT_LEN];
    struct sk_rate rate;
    int64_t seen;         /* mono */
    int64_t told[2];      /* versions of rules and policy in its last answer; -1 none yet */
    int64_t answered;     /* mono; its last feed answer with news */
    int64_t paging, base; /* in the middle of a reset: next `after`; number at which it began. -1 */
    unsigned held;
    struct req *poll[2];
};

struct feed {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct sk_hash_key key;
    char epoch[STORE_SPOOL_LEN];
    int64_t last, first, versions[2]; /* rules, policy */
    bool loaded;
    struct feed_item *items; /* ordered by seq */
    size_t n, cap, dead;
    uint32_t *map; /* target → item + 1 */
    size_t map_size;
    bool overfull;
    struct feed_cached cache[FEED_CACHE];
    uint64_t made, served;
    struct agent **agents;
    size_t nagents;
    struct req *polls, *polls_last;
    unsigned npolls;
    bool news, stop;
    int64_t credit, credited;
    pthread_t thread;
    bool started;
};

enum { FEED_RULES, FEED_POLICY };

int feed_init(struct feed *f);
void feed_free(struct feed *f);
/* Store's thread. feed_entry with the lock held by feed_lock. */
void feed_lock(struct feed *f);
void feed_unlock(struct feed *f);
void feed_clear(struct feed *f, const char *epoch);
void feed_entry(struct feed *f, const struct store_entry *e);
void feed_publish(struct feed *f, int64_t last, int64_t first, const int64_t versions[2]);
void feed_versions(struct feed *f, int64_t versions[2]);
/* Throws out what is over. Lock held. */
void feed_compact(struct feed *f, int64_t now);
/* Lock held. Is there anything for who asks so? */
bool feed_has_news(const struct feed *f, const struct agent *g, const char *epoch, int64_t after);
/* Lock held. Also notes in g what it has been told. NULL: no memory. */
struct body *feed_page(struct feed *f, struct agent *g, const char *epoch, int64_t after, bool renew, int64_t now);

int poll_start(struct api *a);
void poll_stop(struct api *a);
void poll_free(struct api *a); /* when no request comes any more */
/* Agents, by ID; NULL: no memory. Lock held. */
struct agent *agent_find(struct feed *f, const char *id, int64_t now);
/* A request of this agent begins: its rate, and how many it has under way. */
bool agent_admit(struct api *a, const char *id, int64_t now, bool poll);
void agent_leave(struct api *a, const char *id);
/* The poll waits from now on (store's thread, behind the commit), or is answered at once. */
void poll_park(struct api *a, struct req *r);
/* A poll that was woken, and whose certificate has just been looked at: its answer. */
void poll_answer(struct api *a, struct req *r);

/* --- counts and refusals (note.c) --- */

#define API_COUNTS(X)                                                                                                  \
    X(requests)                                                                                                        \
    X(connections_closed_slow)                                                                                         \
    X(connections_refused)                                                                                             \
    X(batches)                                                                                                         \
    X(duplicates)                                                                                                      \
    X(gaps)                                                                                                            \
    X(items)                                                                                                           \
    X(items_refused)                                                                                                   \
    X(commits) X(jobs) X(retried) X(store_failures) X(polls) X(polls_superseded) X(wakes) X(enrolled) X(renewed)
struct counts {
#define X(name) uint64_t name;
    API_COUNTS(X)
#undef X
    uint64_t refused[API_CODE_COUNT];
};
static inline void count_add(uint64_t *p, uint64_t n)
{
    __atomic_fetch_add(p, n, __ATOMIC_RELAXED);
}
static inline uint64_t count_get(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}
/* Counts, and logs with a limit. */
void note_refusal(struct api *a, const struct req *r);

struct api {
    struct api_options o;
    char *where;
    struct sk_prefix *never;
    uint8_t (*keys)[PKI_ED25519_KEY];
    struct item_rules rules;
    struct MHD_Daemon *http;
    int listen_fd;
    uint16_t port;
    unsigned held; /* requests that are suspended; atomic */
    bool stopping; /* atomic */
    bool store_ok; /* atomic */
    size_t bodies; /* bytes of bodies; network thread */
    struct counts counts;
    struct sk_rate log_rate;
    uint64_t log_missed;
    struct conns conns;
    struct limiter limiter;
    struct work work;
    struct feed feed;
};

static inline bool api_flag(const bool *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
static inline void api_flag_set(bool *p, bool v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
static inline int64_t now_ms(void)
{
    return sk_now_wall() / SK_NS_PER_MS;
}

/* What each path does (agent.c, batch.c, operator.c, list.c). */
enum api_code check_health(struct req *r);
enum api_code check_nothing(struct req *r);
enum api_code check_enroll(struct req *r);
enum api_code check_renew(struct req *r);
enum api_code check_heartbeat(struct req *r);
enum api_code check_events(struct req *r);
enum api_code check_feed(struct req *r);
enum api_code check_entry(struct req *r);
enum api_code check_block(struct req *r);
enum api_code check_unblock(struct req *r);
enum api_code check_token(struct req *r);
enum api_code check_agents(struct req *r);
enum api_code check_blocks(struct req *r);
enum api_code check_entries(struct req *r);
enum api_code check_event_list(struct req *r);
enum api_code check_audit(struct req *r);
int run_enroll(struct api *a, struct req *r);
int run_renew(struct api *a, struct req *r);
int run_heartbeat(struct api *a, struct req *r);
int run_events(struct api *a, struct req *r);
int run_feed(struct api *a, struct req *r);
int run_policy(struct api *a, struct req *r);
int run_rules(struct api *a, struct req *r);
int run_entry(struct api *a, struct req *r);
int run_retire(struct api *a, struct req *r);
int run_agents(struct api *a, struct req *r);
int run_agent(struct api *a, struct req *r);
int run_agent_revoke(struct api *a, struct req *r);
int run_agent_retire(struct api *a, struct req *r);
int run_blocks(struct api *a, struct req *r);
int run_block(struct api *a, struct req *r);
int run_unblock(struct api *a, struct req *r);
int run_entries(struct api *a, struct req *r);
int run_event_list(struct api *a, struct req *r);
int run_tokens(struct api *a, struct req *r);
int run_token(struct api *a, struct req *r);
int run_token_revoke(struct api *a, struct req *r);
int run_audit(struct api *a, struct req *r);
int run_waf(struct api *a, struct req *r);
/* What a batch will ask of the store: how many, and into asks unless that is NULL. */
size_t ahead_events(const struct req *r, struct store_ask *asks);
/* May this certificate, this token ...? Sets an answer when not. SK_EPERM: answered; SK_EIO. */
int admit_agent(struct api *a, struct req *r);
int admit_operator(struct api *a, struct req *r);
/* The fields of an entry, without brackets. */
void out_entry(struct sk_strbuf *b, const struct store_entry *e);

#endif
