/* Entries of decide.policy: "SELECTOR ACTION". */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "conf_priv.h"

static bool number(const char *s, uint64_t max, uint32_t *out)
{
    char *end;
    if (!isdigit((unsigned char)*s))
        return false;
    unsigned long long v = strtoull(s, &end, 10);
    if (*end != '\0' || v > max)
        return false;
    *out = (uint32_t)v;
    return true;
}

/* "SID" or "GID:SID". */
static bool parse_sid(char *s, struct conf_policy *p)
{
    char *colon = strchr(s, ':');
    p->gid = 1;
    if (colon == NULL)
        return number(s, UINT32_MAX, &p->sid);
    *colon = '\0';
    return number(s, UINT32_MAX, &p->gid) && number(colon + 1, UINT32_MAX, &p->sid);
}

static bool parse_selector(struct conf_reader *r, char *s, struct conf_policy *p)
{
    char *eq;
    if (strcmp(s, "any") == 0) {
        p->by = CONF_POLICY_ANY;
        return true;
    }
    if (strncmp(s, "sid:", 4) == 0) {
        p->by = CONF_POLICY_SID;
        return parse_sid(s + 4, p);
    }
    if (strncmp(s, "priority:", 9) == 0) {
        p->by = CONF_POLICY_PRIORITY;
        return number(s + 9, 255, &p->sid) && p->sid > 0;
    }
    if (strncmp(s, "class:", 6) == 0) {
        p->by = CONF_POLICY_CLASS;
        p->name = conf_keep(r, s + 6, strlen(s + 6));
        return s[6] != '\0';
    }
    if (strncmp(s, "tag:", 4) != 0)
        return false;
    p->by = CONF_POLICY_TAG;
    eq = strchr(s + 4, '=');
    if (eq != NULL) {
        *eq = '\0';
        p->value = conf_keep(r, eq + 1, strlen(eq + 1));
    }
    p->name = conf_keep(r, s + 4, strlen(s + 4));
    return s[4] != '\0';
}

/* word: what stands behind the action, or "". */
static bool parse_action(const char *act, const char *word, struct conf_policy *p)
{
    int64_t seconds;
    if (strcmp(act, "never") == 0) {
        p->act = CONF_POLICY_NEVER;
        return *word == '\0';
    }
    if (strcmp(act, "score") == 0) {
        p->act = CONF_POLICY_SCORE;
        return number(word, 1000000, &p->points);
    }
    if (strcmp(act, "block") != 0)
        return false;
    p->act = CONF_POLICY_BLOCK;
    if (*word == '\0')
        return true;
    if (sk_duration_parse(word, &seconds) != SK_OK || seconds > 365 * 86400)
        return false;
    p->duration = seconds * SK_NS_PER_S;
    return true;
}

bool conf_parse_policy(struct conf_reader *r, const char *text, struct conf_policy *out, char *why)
{
    char buf[256];
    *out = (struct conf_policy){0};
    if ((size_t)snprintf(buf, sizeof(buf), "%s", text) >= sizeof(buf)) {
        snprintf(why, 80, "too long");
        return false;
    }
    char *save = NULL, *selector = strtok_r(buf, " \t", &save), *act = strtok_r(NULL, " \t", &save),
         *word = strtok_r(NULL, " \t", &save);
    if (act == NULL || strtok_r(NULL, " \t", &save) != NULL) {
        snprintf(why, 80, "is not SELECTOR ACTION");
        return false;
    }
    if (!parse_selector(r, selector, out)) {
        snprintf(why, 80, "the selector is sid:, class:, tag:, priority: or any");
        return false;
    }
    if (!parse_action(act, word != NULL ? word : "", out)) {
        snprintf(why, 80, "the action is never, block [TIME] (1s..365d) or score POINTS");
        return false;
    }
    return true;
}
