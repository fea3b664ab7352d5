#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "decide/plan.h"

/* What each alert leads to, with a configuration as a person writes it. */

static struct decide_plan plan_of(const char *policy, const char *more, bool prevent, const struct decide_rule *r)
{
    struct conf *c = NULL;
    struct decide_plan p;
    assert_int_equal(conf_default(&c), SK_OK);
    if (policy)
        assert_int_equal(conf_set(c, "decide.policy", policy, NULL), SK_OK);
    if (more)
        assert_int_equal(conf_set_arg(c, more, NULL), SK_OK);
    memset(&p, 0xa5, sizeof p);
    decide_plan(&c->decide, prevent, r, &p);
    conf_free(c);
    return p;
}

#define NO_POLICY "[]"

static void assert_nothing(struct decide_plan p)
{
    assert_int_equal(p.act, DECIDE_NOTHING);
    assert_int_equal(p.seconds, 0);
    assert_int_equal(p.points, 0);
}

static void assert_score(struct decide_plan p, uint32_t points)
{
    assert_int_equal(p.act, DECIDE_SCORE);
    assert_int_equal(p.points, points);
}

static void assert_block(struct decide_plan p, enum decide_reason reason, bool explicit_block, int64_t seconds)
{
    assert_int_equal(p.act, DECIDE_BLOCK);
    assert_int_equal(p.reason, reason);
    assert_int_equal(p.explicit_block, explicit_block);
    assert_int_equal(p.seconds, seconds);
}

static void points_go_by_priority(void **state)
{
    (void)state;
    static const uint32_t want[] = {0, 40, 20, 5, 0, 0};
    for (uint32_t prio = 1; prio <= 5; prio++) {
        const struct decide_rule r = {.gid = 1, .sid = 1, .priority = prio};
        if (want[prio])
            assert_score(plan_of(NULL, NULL, false, &r), want[prio]);
        else
            assert_nothing(plan_of(NULL, NULL, false, &r));
    }
    const struct decide_rule low = {.gid = 1, .sid = 1, .priority = 255}, odd = {.gid = 1, .sid = 1, .priority = 0};
    assert_score(plan_of(NULL, "decide.score.priority-other=7", false, &low), 7);
    assert_score(plan_of(NULL, "decide.score.priority-other=7", false, &odd), 7);
    const struct decide_rule high = {.gid = 1, .sid = 1, .priority = 1};
    assert_nothing(plan_of(NULL, "decide.score.enabled=no", false, &high));
    assert_nothing(plan_of(NULL, "decide.score.priority-1=0", false, &high));
}

static void the_rule_itself_says_block(void **state)
{
    (void)state;
    const struct decide_rule hour = {.gid = 1, .sid = 1, .priority = 1, .block_seconds = 3600},
                             never = {.gid = 1, .sid = 1, .priority = 1, .block_seconds = -1, .drop = true};
    assert_block(plan_of(NULL, NULL, false, &hour), DECIDE_BY_RULE, true, 3600);
    assert_block(plan_of(NULL, "decide.score.enabled=no", false, &hour), DECIDE_BY_RULE, true, 3600);
    assert_nothing(plan_of(NULL, NULL, false, &never));
    assert_nothing(plan_of(NULL, NULL, true, &never));
}

static void a_drop_rule_blocks_unless_it_is_told_not_to(void **state)
{
    (void)state;
    const struct decide_rule r = {.gid = 1, .sid = 1, .priority = 2, .drop = true};
    assert_block(plan_of(NULL, "decide.block-duration=10m", false, &r), DECIDE_BY_RULE, false, 600);
    assert_score(plan_of(NULL, "decide.block-on-drop=no", false, &r), 20); /* then it is an alert like others */
    assert_block(plan_of(NULL, "decide.block-on-drop=no", true, &r), DECIDE_BY_RULE, false, 3600);
}

static void policy_goes_first(void **state)
{
    (void)state;
    const struct decide_rule r = {.gid = 1, .sid = 7, .priority = 1, .block_seconds = 3600, .drop = true};
    assert_nothing(plan_of("sid:7 never", NULL, true, &r));
    assert_score(plan_of("sid:7 score 15", NULL, true, &r), 15);
    assert_nothing(plan_of("sid:7 score 0", NULL, true, &r));
    assert_nothing(plan_of("sid:7 score 15", "decide.score.enabled=no", true, &r));
    assert_block(plan_of("sid:7 block 5m", NULL, false, &r), DECIDE_BY_POLICY, false, 300);
    assert_block(plan_of("sid:7 block", "decide.block-duration=2h", false, &r), DECIDE_BY_POLICY, false, 7200);
    /* An alert that its author thought little of. */
    const struct decide_rule plain = {.gid = 1, .sid = 7, .priority = 255, .block_seconds = -1};
    assert_block(plan_of("any block 1m", NULL, false, &plain), DECIDE_BY_POLICY, false, 60);
}

static void the_first_entry_that_fits(void **state)
{
    (void)state;
    static const char *const meta[] = {"cve", "2021_44228", "tag", "WAF", "severity", "Major", "tag", "Scan"};
    const struct decide_rule r = {
        .gid = 1, .sid = 7, .priority = 3, .class_name = "web-application-attack", .meta = meta, .nmeta = 4};
    static const struct {
        const char *policy;
        uint32_t points; /* 5: what the priority gives */
    } cases[] = {
        {"sid:8 score 9", 5},
        {"sid:1:7 score 9", 9},
        {"sid:3:7 score 9", 5},
        {"class:web-application-attack score 9", 9},
        {"class:Web-Application-Attack score 9", 9},
        {"class:web-application score 9", 5},
        {"class:web-application-attack-2 score 9", 5},
        {"tag:cve score 9", 9},
        {"tag:CVE=2021_44228 score 9", 9},
        {"tag:cve=2021 score 9", 5},
        {"tag:tag=scan score 9", 9}, /* not only the first of a key */
        {"tag:waf score 9", 5},      /* a value is no key */
        {"tag:major score 9", 5},
        {"priority:3 score 9", 9},
        {"priority:2 score 9", 5},
        {"any score 9", 9},
        {"sid:7 score 1,any score 9", 1},
        {"any score 9,sid:7 score 1", 9},
        {"sid:8 never,class:trojan-activity never,priority:3 score 2,any never", 2},
        {NO_POLICY, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct decide_plan p = plan_of(cases[i].policy, NULL, false, &r);
        if (p.act != DECIDE_SCORE || p.points != cases[i].points)
            fail_msg("%s: act %d, points %u", cases[i].policy, p.act, p.points);
    }
    const struct decide_rule bare = {.gid = 1, .sid = 7, .priority = 3};
    assert_score(plan_of("class:web-application-attack score 9,tag:cve score 9", NULL, false, &bare), 5);
}

/* Of the classes that tell of no attack nothing is added up, as long as nobody says otherwise; their drop rules block.
 */
static void what_tells_of_no_attack_gives_no_points(void **state)
{
    (void)state;
    static const char *const quiet[] = {"policy-violation", "misc-activity", "not-suspicious",
                                        "protocol-command-decode"};
    for (size_t i = 0; i < 4; i++) {
        const struct decide_rule r = {.gid = 1, .sid = 7, .priority = 1, .class_name = quiet[i]};
        assert_nothing(plan_of(NULL, NULL, false, &r));
        assert_score(plan_of("any score 9", NULL, false, &r), 9);
        const struct decide_rule drop = {.gid = 1, .sid = 7, .priority = 1, .class_name = quiet[i], .drop = true};
        assert_int_equal(plan_of(NULL, NULL, false, &drop).act, DECIDE_BLOCK);
    }
    const struct decide_rule attack = {.gid = 1, .sid = 7, .priority = 1, .class_name = "web-application-attack"};
    assert_score(plan_of(NULL, NULL, false, &attack), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_go_by_priority),
        cmocka_unit_test(the_rule_itself_says_block),
        cmocka_unit_test(a_drop_rule_blocks_unless_it_is_told_not_to),
        cmocka_unit_test(policy_goes_first),
        cmocka_unit_test(the_first_entry_that_fits),
        cmocka_unit_test(what_tells_of_no_attack_gives_no_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
