/* Refusals: counted all, logged so many a second. What a client sent is not in them, but for names that were checked.
 */
#include "api_priv.h"
#include "base/log.h"

#define LOGS_PER_S 10
#define LOGS_BURST 100

static bool worth_a_line(enum api_code c)
{
    return c != API_NOT_FOUND && c != API_METHOD && c != API_GAP && c != API_STOPPING;
}

void note_refusal(struct api *a, const struct req *r)
{
    char addr[SK_ADDR_STRLEN];
    count_add(&a->counts.refused[r->code], 1);
    if (!worth_a_line(r->code))
        return;
    if (!sk_rate_take(&a->log_rate, LOGS_PER_S, LOGS_BURST, sk_now_mono())) {
        a->log_missed++;
        return;
    }
    const char *who = r->conn->peer == PEER_AGENT || r->conn->peer == PEER_EXPIRED ? r->conn->cert.agent : r->who;
    sk_log(SK_LOG_WARN, "api: %s %s from %s%s%s: %u %s%s%s%s", r->route != NULL ? r->route->method : "-",
           r->route != NULL ? r->route->path : "-", sk_addr_format(&r->conn->addr, addr), who[0] != '\0' ? ", " : "",
           who, r->status, code_name(r->code), r->detail != NULL ? " (" : "", r->detail != NULL ? r->detail : "",
           r->detail != NULL ? ")" : "");
    if (a->log_missed > 0)
        sk_log(SK_LOG_WARN, "api: %llu further refusals were not logged", (unsigned long long)a->log_missed);
    a->log_missed = 0;
}
