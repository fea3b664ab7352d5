/* Random chains of contents on random buffers, against a search that simply tries every combination of positions. */
#include "inspect_case.h"

#define CHAIN 4

static bool stands(const struct rule_content *c, const char *buf, int32_t at)
{
    for (uint16_t i = 0; i < c->len; i++) {
        uint8_t x = (uint8_t)buf[at + i], y = c->p[i];
        if (x != y && !((c->flags & RC_NOCASE) && (x | 0x20) == (y | 0x20)))
            return false;
    }
    return true;
}

/* Whether contents i.. can be placed when the one before ends at cur. */
static bool place(const struct rule_match *m, uint16_t i, uint16_t n, const char *buf, int32_t len, int32_t cur)
{
    if (i == n)
        return true;
    const struct rule_content *c = &m[i].content;
    int32_t lo = 0, hi = len;
    if (c->flags & RC_RELATIVE) {
        lo = cur + (c->flags & RC_DISTANCE ? c->distance : 0);
        hi = c->flags & RC_WITHIN && lo + c->within < hi ? lo + c->within : hi;
    }
    if (c->flags & RC_OFFSET)
        lo = c->offset;
    if (c->flags & RC_DEPTH && c->depth + (c->flags & RC_OFFSET ? c->offset : 0) < hi)
        hi = c->depth + (c->flags & RC_OFFSET ? c->offset : 0);
    for (int32_t at = lo < 0 ? 0 : lo; at + c->len <= hi; at++) {
        if (c->flags & RC_ENDSWITH && at + c->len != len)
            continue;
        if (stands(c, buf, at) && place(m, (uint16_t)(i + 1), n, buf, len, at + c->len))
            return true;
    }
    return false;
}

static struct rule_match random_content(bool first)
{
    static const char *const text[] = {"a", "b", "ab", "aa", "ba", "aab", "A", "B"};
    const char *s = text[rand() % 8];
    struct rule_match m = {.type = RM_CONTENT,
                           .content = {.p = (const uint8_t *)s,
                                       .len = (uint16_t)strlen(s),
                                       .offset_var = NV,
                                       .depth_var = NV,
                                       .distance_var = NV,
                                       .within_var = NV}};
    struct rule_content *c = &m.content;
    c->flags = rand() % 3 ? 0 : RC_NOCASE;
    if (rand() % 8 == 0)
        c->flags |= RC_ENDSWITH;
    if (!first && rand() % 4) {
        c->flags |= rand() % 3 ? RC_WITHIN : RC_DISTANCE;
        c->flags |= rand() % 2 ? RC_DISTANCE : 0;
        c->distance = rand() % 7 - 3;
        c->within = c->len + rand() % 4;
    } else {
        c->flags |= rand() % 3 ? 0 : RC_OFFSET;
        c->flags |= rand() % 3 ? 0 : RC_DEPTH;
        c->offset = rand() % 6;
        c->depth = c->len + rand() % 8;
    }
    return m;
}

static void chains_agree_with_trying_everything(void **state)
{
    (void)state;
    static struct sk_counters counters;
    unsigned matched = 0, rounds = 60000;
    srand(5);
    for (unsigned round = 0; round < rounds; round++) {
        struct rule_match m[CHAIN];
        uint16_t n = (uint16_t)(1 + rand() % CHAIN);
        char buf[24];
        uint32_t len = (uint32_t)rand() % sizeof buf;
        for (uint16_t i = 0; i < n; i++)
            m[i] = random_content(i == 0);
        for (uint32_t i = 0; i < len; i++)
            buf[i] = "aabbABx"[rand() % 7];
        struct inspect_case c = {.name = "random", .m = m, .n = n, .buf = buf, .len = len};
        bool want = place(m, 0, n, buf, (int32_t)len, 0);
        if (case_matches(&c, &counters) != want)
            fail_msg("round %u: \"%.*s\" should %smatch", round, (int)len, buf, want ? "" : "not ");
        matched += want;
    }
    assert_true(matched > rounds / 20 && matched < rounds / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(chains_agree_with_trying_everything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
