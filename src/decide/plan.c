#include "decide/plan.h"

#include <string.h>

#include "base/clock.h"

static bool has_tag(const struct decide_rule *r, const char *key, const char *value)
{
    for (unsigned i = 0; i < r->nmeta; i++)
        if (strcasecmp(r->meta[2 * i], key) == 0 && (!value || strcasecmp(r->meta[2 * i + 1], value) == 0))
            return true;
    return false;
}

static bool fits(const struct conf_policy *p, const struct decide_rule *r)
{
    switch (p->by) {
    case CONF_POLICY_SID: return p->gid == r->gid && p->sid == r->sid;
    case CONF_POLICY_CLASS: return r->class_name && strcasecmp(r->class_name, p->name) == 0;
    case CONF_POLICY_TAG: return has_tag(r, p->name, p->value);
    case CONF_POLICY_PRIORITY: return p->sid == r->priority;
    case CONF_POLICY_ANY: return true;
    }
    return false;
}

static struct decide_plan block(enum decide_reason reason, bool explicit_block, int64_t seconds)
{
    return (struct decide_plan){
        .act = DECIDE_BLOCK, .reason = reason, .explicit_block = explicit_block, .seconds = seconds > 0 ? seconds : 1};
}

static struct decide_plan score(const struct conf_decide *conf, uint32_t points)
{
    if (!conf->score.enabled || points == 0)
        return (struct decide_plan){.act = DECIDE_NOTHING};
    return (struct decide_plan){.act = DECIDE_SCORE, .points = points};
}

static struct decide_plan by_policy(const struct conf_decide *conf, const struct conf_policy *p)
{
    int64_t duration = p->duration ? p->duration : conf->block_duration;
    switch (p->act) {
    case CONF_POLICY_BLOCK: return block(DECIDE_BY_POLICY, false, duration / SK_NS_PER_S);
    case CONF_POLICY_SCORE: return score(conf, p->points);
    case CONF_POLICY_NEVER: break;
    }
    return (struct decide_plan){.act = DECIDE_NOTHING};
}

/* Classes whose rules tell of no attack, whatever their priority (policy-violation has 1): they block where they say
 * so, and add no points unless decide.policy gives them some. */
static bool is_no_attack(const char *class_name)
{
    static const char *const names[] = {"policy-violation", "misc-activity", "not-suspicious",
                                        "protocol-command-decode"};
    for (size_t i = 0; class_name && i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(class_name, names[i]) == 0)
            return true;
    return false;
}

static struct decide_plan by_rule(const struct conf_decide *conf, bool prevent, const struct decide_rule *r)
{
    if (r->block_seconds < 0)
        return (struct decide_plan){.act = DECIDE_NOTHING};
    if (r->block_seconds > 0)
        return block(DECIDE_BY_RULE, true, r->block_seconds);
    if (r->drop && (prevent || conf->block_on_drop))
        return block(DECIDE_BY_RULE, false, conf->block_duration / SK_NS_PER_S);
    if (is_no_attack(r->class_name))
        return (struct decide_plan){.act = DECIDE_NOTHING};
    return score(conf, conf->score.priority[r->priority >= 1 && r->priority <= 3 ? r->priority - 1 : 3]);
}

void decide_plan(const struct conf_decide *conf, bool prevent, const struct decide_rule *rule, struct decide_plan *out)
{
    for (uint32_t i = 0; i < conf->policy.n; i++) {
        if (fits(&conf->policy.v[i], rule)) {
            *out = by_policy(conf, &conf->policy.v[i]);
            return;
        }
    }
    *out = by_rule(conf, prevent, rule);
}
