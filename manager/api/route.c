/* The paths: docs/manager-api.yaml, in its order. */
#include "api_priv.h"

#define SMALL API_BODY_SMALL
static const struct route routes[] = {
    {"GET", "/healthz", AUTH_NONE, BODY_NONE, SMALL, check_health, NULL},
    {"POST", "/v1/enroll", AUTH_NONE, BODY_JSON, SMALL, check_enroll, run_enroll},
    {"POST", "/v1/renew", AUTH_AGENT_LATE, BODY_JSON, SMALL, check_renew, run_renew},
    {"POST", "/v1/heartbeat", AUTH_AGENT, BODY_JSON, SMALL, check_heartbeat, run_heartbeat},
    {"POST", "/v1/events", AUTH_AGENT, BODY_JSON, API_BODY_MAX, check_events, run_events},
    {"GET", "/v1/feed", AUTH_AGENT, BODY_NONE, SMALL, check_feed, run_feed},
    {"GET", "/v1/bundles/policy", AUTH_AGENT, BODY_NONE, SMALL, check_nothing, run_policy},
    {"GET", "/v1/bundles/rules", AUTH_AGENT, BODY_NONE, SMALL, check_nothing, run_rules},
    {"GET", "/v1/entry", AUTH_AGENT, BODY_NONE, SMALL, check_entry, run_entry},
    {"POST", "/v1/retire", AUTH_AGENT, BODY_JSON, SMALL, check_nothing, run_retire},
    {"GET", "/v1/operator/agents", AUTH_OPERATOR, BODY_NONE, SMALL, check_agents, run_agents},
    {"GET", "/v1/operator/agents/{id}", AUTH_OPERATOR, BODY_NONE, SMALL, check_nothing, run_agent},
    {"POST", "/v1/operator/agents/{id}/revoke", AUTH_ADMIN, BODY_MAY, SMALL, check_nothing, run_agent_revoke},
    {"POST", "/v1/operator/agents/{id}/retire", AUTH_ADMIN, BODY_MAY, SMALL, check_nothing, run_agent_retire},
    {"GET", "/v1/operator/blocks", AUTH_OPERATOR, BODY_NONE, SMALL, check_blocks, run_blocks},
    {"POST", "/v1/operator/blocks", AUTH_ADMIN, BODY_JSON, SMALL, check_block, run_block},
    {"POST", "/v1/operator/unblock", AUTH_ADMIN, BODY_JSON, SMALL, check_unblock, run_unblock},
    {"GET", "/v1/operator/entries", AUTH_OPERATOR, BODY_NONE, SMALL, check_entries, run_entries},
    {"GET", "/v1/operator/events", AUTH_OPERATOR, BODY_NONE, SMALL, check_event_list, run_event_list},
    {"GET", "/v1/operator/tokens", AUTH_OPERATOR, BODY_NONE, SMALL, check_nothing, run_tokens},
    {"POST", "/v1/operator/tokens", AUTH_ADMIN, BODY_JSON, SMALL, check_token, run_token},
    {"DELETE", "/v1/operator/tokens/{id}", AUTH_ADMIN, BODY_MAY, SMALL, check_nothing, run_token_revoke},
    {"GET", "/v1/operator/audit", AUTH_OPERATOR, BODY_NONE, SMALL, check_audit, run_audit},
    {"GET", "/v1/operator/waf", AUTH_OPERATOR, BODY_NONE, SMALL, check_nothing, run_waf},
};
#define NROUTES (sizeof(routes) / sizeof(routes[0]))

unsigned route_count(void)
{
    return NROUTES;
}

const struct route *route_at(unsigned i)
{
    return &routes[i];
}

/* "{id}" takes one segment of 1..31 characters of an ID's. */
static bool matches(const char *pattern, const char *path, char arg[32])
{
    const char *brace = strchr(pattern, '{');
    if (brace == NULL)
        return strcmp(pattern, path) == 0;
    size_t n = (size_t)(brace - pattern);
    if (strncmp(pattern, path, n) != 0)
        return false;
    size_t len = strcspn(path + n, "/");
    if (len > 31 || !text_fits(path + n, len, SET_ID, 1, 31) || strcmp(path + n + len, brace + 4) != 0)
        return false;
    memcpy(arg, path + n, len);
    arg[len] = '\0';
    return true;
}

static const char *allow_of(bool get, bool post, bool del)
{
    if (get)
        return post ? "GET, HEAD, OPTIONS, POST" : "GET, HEAD, OPTIONS";
    return post ? "OPTIONS, POST" : del ? "DELETE, OPTIONS" : NULL;
}

const struct route *route_find(const char *method, const char *path, char arg[32], const char **allow)
{
    bool get = false, post = false, del = false;
    for (size_t i = 0; i < NROUTES; i++) {
        if (!matches(routes[i].path, path, arg))
            continue;
        if (strcmp(routes[i].method, method) == 0)
            return &routes[i];
        get |= routes[i].method[0] == 'G';
        post |= routes[i].method[0] == 'P';
        del |= routes[i].method[0] == 'D';
    }
    *allow = allow_of(get, post, del);
    return NULL;
}
