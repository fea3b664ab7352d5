/* Contents, expressions, isdataat and sizes: bounds, relative chains, backtracking, negation, windows. */
#include "inspect_case.h"

static const struct inspect_case absolute_cases[] = {
    {"plain", MATCHES(PLAIN("abc")), BUF("xxabcxx"), true, "abc"},
    {"plain, absent", MATCHES(PLAIN("abc")), BUF("xxabxcx"), false},
    {"whole buffer", MATCHES(PLAIN("abc")), BUF("abc"), true, "abc"},
    {"longer than the buffer", MATCHES(PLAIN("abcd")), BUF("abc"), false},
    {"empty buffer", MATCHES(PLAIN("a")), BUF(""), false},
    {"single byte at the end", MATCHES(PLAIN("z")), BUF("0123456789012345678901234567890z"), true, "z"},
    {"in a long buffer's overlapping tail", MATCHES(PLAIN("xyz")), BUF("012345678901234567890123456789012xyz"), true},
    {"NUL bytes", MATCHES(PLAIN("\0\0\1")), BUF("ab\0\0\0\1c"), true},
    {"high bytes", MATCHES(PLAIN("\xff\x00\xfe")), BUF("\xff\xff\x00\xfe"), true},
    {"case matters", MATCHES(PLAIN("Abc")), BUF("abc ABC aBC"), false},
    {"nocase", MATCHES(CONTENT("aBc-1", .flags = RC_NOCASE)), BUF("zzzAbC-1"), true, "AbC-1"},
    {"nocase folds letters only", MATCHES(CONTENT("a[b", .flags = RC_NOCASE)), BUF("A{B"), false},
    {"nocase folds @ not to backquote", MATCHES(CONTENT("@`@", .flags = RC_NOCASE)), BUF("`````@@@@@@@@@@@@@@@@@"),
     false},
    {"nocase in a long buffer", MATCHES(CONTENT("HOST:", .flags = RC_NOCASE)),
     BUF("get / http/1.1\r\nuser-agent: hosthost\r\nhOsT: a"), true, "hOsT:"},
    {"two, any order", MATCHES(PLAIN("b"), PLAIN("a")), BUF("ab"), true},
    {"two, one absent", MATCHES(PLAIN("b"), PLAIN("a")), BUF("bb"), false},
    {"the same twice", MATCHES(PLAIN("a"), PLAIN("a")), BUF("a"), true},
    {"offset on the spot", MATCHES(OFFSET("c", 2)), BUF("abc"), true},
    {"offset too far", MATCHES(OFFSET("b", 2)), BUF("abc"), false},
    {"offset beyond the buffer", MATCHES(OFFSET("b", 20)), BUF("abc"), false},
    {"offset finds a later one", MATCHES(OFFSET("a", 1)), BUF("aba"), true, "a"},
    {"depth just enough", MATCHES(DEPTH("bc", 3)), BUF("abcd"), true},
    {"depth one short", MATCHES(DEPTH("bc", 2)), BUF("abcd"), false},
    {"depth longer than the buffer", MATCHES(DEPTH("bc", 300)), BUF("abcd"), true},
    {"depth counts from offset", MATCHES(OFF_DEPTH("cd", 2, 2)), BUF("abcd"), true},
    {"depth from offset, one late", MATCHES(OFF_DEPTH("cd", 1, 2)), BUF("abcd"), false},
    {"startswith", MATCHES(STARTSWITH("ab")), BUF("abab"), true},
    {"startswith, later", MATCHES(STARTSWITH("ab")), BUF("xab"), false},
    {"endswith", MATCHES(ENDSWITH("ab")), BUF("ab ab"), true},
    {"endswith, earlier only", MATCHES(ENDSWITH("ab")), BUF("ab abx"), false},
    {"endswith nocase", MATCHES(CONTENT(".EXE", .flags = RC_ENDSWITH | RC_NOCASE)), BUF("/a.exe"), true, ".exe"},
    {"startswith and endswith", MATCHES(CONTENT("ab", .flags = RC_ENDSWITH | RC_DEPTH, .depth = 2)), BUF("ab"), true},
    {"startswith and endswith, longer", MATCHES(CONTENT("ab", .flags = RC_ENDSWITH | RC_DEPTH, .depth = 2)),
     BUF("abab"), false},
    {"endswith behind offset", MATCHES(CONTENT("b", .flags = RC_ENDSWITH | RC_OFFSET, .offset = 2)), BUF("ab"), false},
};

static const struct inspect_case negated_cases[] = {
    {"not, absent", MATCHES(NOT("x")), BUF("abc"), true},
    {"not, present", MATCHES(NOT("b")), BUF("abc"), false},
    {"not, empty buffer", MATCHES(NOT("b")), BUF(""), true},
    {"not nocase", MATCHES(CONTENT("B", .flags = RC_NEGATED | RC_NOCASE)), BUF("abc"), false},
    {"not within depth", MATCHES(CONTENT("b", .flags = RC_NEGATED | RC_DEPTH, .depth = 1)), BUF("ab"), true},
    {"not within depth, there", MATCHES(CONTENT("b", .flags = RC_NEGATED | RC_DEPTH, .depth = 2)), BUF("ab"), false},
    {"not behind offset", MATCHES(CONTENT("a", .flags = RC_NEGATED | RC_OFFSET, .offset = 1)), BUF("ab"), true},
    {"not, offset beyond the buffer", MATCHES(CONTENT("a", .flags = RC_NEGATED | RC_OFFSET, .offset = 9)), BUF("ab"),
     true},
    {"not endswith, elsewhere", MATCHES(CONTENT("a", .flags = RC_NEGATED | RC_ENDSWITH)), BUF("aab"), true},
    {"not endswith, at the end", MATCHES(CONTENT("b", .flags = RC_NEGATED | RC_ENDSWITH)), BUF("abb"), false},
    {"not relative, absent behind", MATCHES(PLAIN("b"), CONTENT("a", .flags = RC_NEGATED | RC_DISTANCE)), BUF("ab"),
     true},
    {"not relative, present behind", MATCHES(PLAIN("b"), CONTENT("a", .flags = RC_NEGATED | RC_DISTANCE)), BUF("aba"),
     false},
    {"not within", MATCHES(PLAIN("Host:"), CONTENT("\n", .flags = RC_NEGATED | RC_WITHIN, .within = 4)),
     BUF("Host: abc\n"), true},
    {"not within, there", MATCHES(PLAIN("Host:"), CONTENT("\n", .flags = RC_NEGATED | RC_WITHIN, .within = 5)),
     BUF("Host: abc\n"), false},
    {"not within: a later anchor helps",
     MATCHES(PLAIN("a"), CONTENT("b", .flags = RC_NEGATED | RC_WITHIN, .within = 1)), BUF("abac"), true},
    {"not within: no anchor is free of it",
     MATCHES(PLAIN("a"), CONTENT("b", .flags = RC_NEGATED | RC_WITHIN, .within = 1)), BUF("abab"), false},
    {"not anywhere behind: a later anchor helps",
     MATCHES(PLAIN("this"), CONTENT("and", .flags = RC_NEGATED | RC_DISTANCE)), BUF("this_and_this_now"), true},
    {"not leaves the base where it was",
     MATCHES(PLAIN("a"), CONTENT("x", .flags = RC_NEGATED | RC_WITHIN, .within = 2), DIST_WITHIN("b", 0, 1)), BUF("ab"),
     true},
    {"not before positive", MATCHES(NOT("x"), PLAIN("a")), BUF("a"), true, "a"},
    {"not behind positive fails all", MATCHES(PLAIN("a"), NOT("b")), BUF("aab"), false},
    {"evidence is the last positive", MATCHES(PLAIN("one"), NOT("x")), BUF("  one two"), true, "one"},
};

static const struct inspect_case relative_cases[] = {
    {"distance 0", MATCHES(PLAIN("a"), DISTANCE("b", 0)), BUF("ab"), true, "b"},
    {"distance, before only", MATCHES(PLAIN("a"), DISTANCE("b", 0)), BUF("ba"), false},
    {"distance 2 skips", MATCHES(PLAIN("a"), DISTANCE("b", 2)), BUF("abxb"), true},
    {"distance 2, too near", MATCHES(PLAIN("a"), DISTANCE("b", 2)), BUF("axb"), false},
    {"distance negative looks back", MATCHES(PLAIN("bc"), DISTANCE("ab", -3)), BUF("abc"), true},
    {"distance negative, not that far", MATCHES(PLAIN("bc"), DISTANCE("ab", -2)), BUF("abc"), false},
    {"distance far negative is the start", MATCHES(PLAIN("c"), DISTANCE("a", -100)), BUF("abc"), true},
    {"within just enough", MATCHES(PLAIN("a"), WITHIN("bc", 3)), BUF("axbc"), true},
    {"within one short", MATCHES(PLAIN("a"), WITHIN("bc", 2)), BUF("axbc"), false},
    {"within beyond the end", MATCHES(PLAIN("a"), WITHIN("bc", 200)), BUF("axbc"), true},
    {"distance and within", MATCHES(PLAIN("a"), DIST_WITHIN("b", 1, 1)), BUF("axb"), true},
    {"distance and within, early", MATCHES(PLAIN("a"), DIST_WITHIN("b", 1, 1)), BUF("ab"), false},
    {"distance and within, late", MATCHES(PLAIN("a"), DIST_WITHIN("b", 1, 1)), BUF("axxb"), false},
    {"within before the start is no match", MATCHES(PLAIN("a"), DIST_WITHIN("a", -50, 5)), BUF("a"), false},
    {"first relative counts from the start", MATCHES(DIST_WITHIN("b", 1, 1)), BUF("ab"), true},
    {"first relative, too late", MATCHES(DIST_WITHIN("b", 0, 1)), BUF("ab"), false},
    {"absolute between resets the base", MATCHES(PLAIN("c"), PLAIN("a"), DISTANCE("b", 0)), BUF("abc"), true},
    {"relative to the latest", MATCHES(PLAIN("a"), PLAIN("c"), DISTANCE("b", 0)), BUF("abc"), false},
    {"second anchor works", MATCHES(PLAIN("a"), WITHIN("b", 1)), BUF("acab"), true, "b"},
    {"no anchor works", MATCHES(PLAIN("a"), WITHIN("b", 1)), BUF("acad"), false},
    {"anchors overlap", MATCHES(PLAIN("aa"), WITHIN("b", 1)), BUF("aaab"), true},
    {"second link is retried", MATCHES(PLAIN("a"), DISTANCE("b", 0), WITHIN("c", 1)), BUF("abxbc"), true, "c"},
    {"first link is retried for the third", MATCHES(PLAIN("a"), WITHIN("b", 2), WITHIN("c", 1)), BUF("abxaxbc"), true},
    {"three links, none fits", MATCHES(PLAIN("a"), WITHIN("b", 2), WITHIN("c", 1)), BUF("abxaxbxc"), false},
    {"negated third retries the chain",
     MATCHES(PLAIN("a"), WITHIN("b", 1), CONTENT("c", .flags = RC_NEGATED | RC_WITHIN, .within = 1)), BUF("abcabd"),
     true},
    {"chain behind an independent content", MATCHES(PLAIN("z"), PLAIN("a"), WITHIN("b", 1)), BUF("acabz"), true},
    {"failing independent ends it", MATCHES(PLAIN("a"), WITHIN("b", 1), PLAIN("z")), BUF("abab"), false},
    {"relative endswith", MATCHES(PLAIN("a"), CONTENT("b", .flags = RC_ENDSWITH | RC_DISTANCE)), BUF("axb"), true},
    {"relative endswith overlapping its anchor", MATCHES(PLAIN("ab"), CONTENT("b", .flags = RC_ENDSWITH | RC_DISTANCE)),
     BUF("ab"), false},
    {"relative endswith, within too short",
     MATCHES(PLAIN("a"), CONTENT("b", .flags = RC_ENDSWITH | RC_WITHIN, .within = 2)), BUF("axxb"), false},
    {"relative endswith, within from a later anchor",
     MATCHES(PLAIN("a"), CONTENT("b", .flags = RC_ENDSWITH | RC_WITHIN, .within = 2)), BUF("axxaxb"), true},
    {"case insensitive chain",
     MATCHES(CONTENT("a", .flags = RC_NOCASE), CONTENT("b", .flags = RC_NOCASE | RC_WITHIN, .within = 1)), BUF("axAB"),
     true},
};

static const struct inspect_case pcre_cases[] = {
    {"pcre", MATCHES(PCRE("a[0-9]+b", 0, 0)), BUF("xxa12byy"), true, "a12b"},
    {"pcre, absent", MATCHES(PCRE("a[0-9]+b", 0, 0)), BUF("xxab"), false},
    {"pcre caseless", MATCHES(PCRE("host", PCRE2_CASELESS, 0)), BUF("HOST"), true},
    {"pcre anchored", MATCHES(PCRE("^b", 0, 0)), BUF("ab"), false},
    {"pcre end", MATCHES(PCRE("b$", 0, 0)), BUF("ab"), true},
    {"pcre on an empty buffer", MATCHES(PCRE("^$", 0, 0)), BUF(""), true, ""},
    {"pcre NUL", MATCHES(PCRE("\\x00\\xff", 0, 0)), BUF("a\0\xff"), true},
    {"pcre negated, absent", MATCHES(PCRE("z", 0, RP_NEGATED)), BUF("ab"), true},
    {"pcre negated, present", MATCHES(PCRE("a", 0, RP_NEGATED)), BUF("ab"), false},
    {"pcre relative", MATCHES(PLAIN("a"), PCRE("^b", 0, RP_RELATIVE)), BUF("ab"), true, "b"},
    {"pcre relative looks behind only", MATCHES(PLAIN("b"), PCRE("a", 0, RP_RELATIVE)), BUF("ab"), false},
    {"pcre relative retries the anchor", MATCHES(PLAIN("a"), PCRE("^b", 0, RP_RELATIVE)), BUF("acab"), true},
    {"pcre relative negated retries", MATCHES(PLAIN("a"), PCRE("^b", 0, RP_RELATIVE | RP_NEGATED)), BUF("abac"), true},
    {"pcre relative negated, none", MATCHES(PLAIN("a"), PCRE("^b", 0, RP_RELATIVE | RP_NEGATED)), BUF("abab"), false},
    {"pcre relative at the end", MATCHES(PLAIN("b"), PCRE("^$", 0, RP_RELATIVE)), BUF("ab"), true},
    {"content behind pcre", MATCHES(PCRE("a.", 0, 0), WITHIN("c", 1)), BUF("abc"), true},
    {"pcre is retried for a content", MATCHES(PCRE("a.", 0, 0), WITHIN("c", 1)), BUF("abxaxc"), true, "c"},
    {"pcre retry overlaps", MATCHES(PCRE("aa", 0, 0), WITHIN("b", 1)), BUF("aaab"), true},
    {"pcre retried in vain", MATCHES(PCRE("a.", 0, 0), WITHIN("c", 1)), BUF("abxaxxc"), false},
    {"pcre is retried for distance too", MATCHES(PCRE("a.*?b", 0, 0), DISTANCE("c", 0)), BUF("ab c"), true},
    {"pcre behind pcre", MATCHES(PCRE("a", 0, 0), PCRE("^b", 0, RP_RELATIVE)), BUF("acab"), true},
    {"content, pcre, content", MATCHES(PLAIN("x"), PCRE("^a.", 0, RP_RELATIVE), WITHIN("c", 1)), BUF("xabdxayc"), true},
    {"independent pcre fails all", MATCHES(PLAIN("a"), PCRE("z", 0, 0)), BUF("aaa"), false},
    {"pcre matching nothing", MATCHES(PCRE("q*", 0, 0), WITHIN("a", 1)), BUF("ba"), true},
    {"pcre \\K shortens evidence", MATCHES(PCRE("ab\\Kc", 0, 0)), BUF("abc"), true, "c"},
    {"backreference", MATCHES(PCRE("(a|b)\\1", 0, 0)), BUF("abb"), true, "bb"},
};

static const struct inspect_case size_cases[] = {
    {"isdataat", MATCHES(ISDATAAT(2, NV, false, false)), BUF("abc"), true},
    {"isdataat, one short", MATCHES(ISDATAAT(3, NV, false, false)), BUF("abc"), false},
    {"isdataat negated", MATCHES(ISDATAAT(3, NV, false, true)), BUF("abc"), true},
    {"isdataat negated, there", MATCHES(ISDATAAT(2, NV, false, true)), BUF("abc"), false},
    {"isdataat relative", MATCHES(PLAIN("a"), ISDATAAT(2, NV, true, false)), BUF("abc"), true},
    {"isdataat relative, one short", MATCHES(PLAIN("a"), ISDATAAT(3, NV, true, false)), BUF("abc"), false},
    {"isdataat relative negated: the end", MATCHES(PLAIN("c"), ISDATAAT(1, NV, true, true)), BUF("abc"), true},
    {"isdataat relative negated, more", MATCHES(PLAIN("b"), ISDATAAT(1, NV, true, true)), BUF("abc"), false},
    {"isdataat relative negated, later anchor", MATCHES(PLAIN("a"), ISDATAAT(1, NV, true, true)), BUF("aba"), true},
    {"isdataat by variable", MATCHES(ISDATAAT(0, 2, false, false)), BUF("abc"), true, .vars = {9, 9, 2}},
    {"isdataat by huge variable", MATCHES(ISDATAAT(0, 2, false, false)), BUF("abc"), false, .vars = {0, 0, UINT64_MAX}},
    {"isdataat negated by huge variable", MATCHES(ISDATAAT(0, 2, false, true)), BUF("abc"), true,
     .vars = {0, 0, UINT64_MAX}},
    {"bsize equal", MATCHES(BSIZE(RULE_EQ, 3, 0)), BUF("abc"), true},
    {"bsize unequal", MATCHES(BSIZE(RULE_EQ, 4, 0)), BUF("abc"), false},
    {"bsize 0", MATCHES(BSIZE(RULE_EQ, 0, 0)), BUF(""), true},
    {"bsize less", MATCHES(BSIZE(RULE_LT, 4, 0)), BUF("abc"), true},
    {"bsize greater", MATCHES(BSIZE(RULE_GT, 3, 0)), BUF("abc"), false},
    {"bsize range is exclusive", MATCHES(BSIZE(RULE_RANGE, 3, 9)), BUF("abc"), false},
    {"bsize range", MATCHES(BSIZE(RULE_RANGE, 2, 4)), BUF("abc"), true},
    {"bsize and content", MATCHES(PLAIN("b"), BSIZE(RULE_EQ, 3, 0)), BUF("abc"), true},
    {"urilen", MATCHES(URILEN(RULE_EQ, 3, 0), PLAIN("b")), BUF("abc"), true},
    {"urilen, other", MATCHES(URILEN(RULE_EQ, 4, 0), PLAIN("b")), BUF("abc"), false},
    {"urilen range", MATCHES(URILEN(RULE_RANGE, 1, 5)), BUF("abc"), true},
};

static const struct inspect_case variable_cases[] = {
    {"offset by variable", MATCHES(CONTENT_VAR("c", 0, NV, NV, NV, .flags = RC_OFFSET)), BUF("abc"), true, .vars = {2}},
    {"offset by variable, behind", MATCHES(CONTENT_VAR("b", 0, NV, NV, NV, .flags = RC_OFFSET)), BUF("abc"), false,
     .vars = {2}},
    {"depth by variable", MATCHES(CONTENT_VAR("b", NV, 1, NV, NV, .flags = RC_DEPTH)), BUF("abc"), true,
     .vars = {0, 2}},
    {"depth by variable, short", MATCHES(CONTENT_VAR("b", NV, 1, NV, NV, .flags = RC_DEPTH)), BUF("abc"), false,
     .vars = {0, 1}},
    {"offset and depth by variables", MATCHES(CONTENT_VAR("c", 0, 1, NV, NV, .flags = RC_OFFSET | RC_DEPTH)),
     BUF("abc"), true, .vars = {2, 1}},
    {"distance by variable", MATCHES(PLAIN("a"), CONTENT_VAR("b", NV, NV, 3, NV, .flags = RC_DISTANCE)), BUF("abxb"),
     true, .vars = {0, 0, 0, 2}},
    {"distance by variable, far", MATCHES(PLAIN("a"), CONTENT_VAR("b", NV, NV, 3, NV, .flags = RC_DISTANCE)),
     BUF("abxb"), false, .vars = {0, 0, 0, 3}},
    {"within by variable", MATCHES(PLAIN("a"), CONTENT_VAR("b", NV, NV, NV, 7, .flags = RC_WITHIN)), BUF("axb"), true,
     .vars = {[7] = 2}},
    {"within by variable, short", MATCHES(PLAIN("a"), CONTENT_VAR("b", NV, NV, NV, 7, .flags = RC_WITHIN)), BUF("axb"),
     false, .vars = {[7] = 1}},
    {"huge values do not wrap", MATCHES(PLAIN("a"), CONTENT_VAR("b", NV, NV, 0, 0, .flags = RC_RELATIVE)), BUF("ab"),
     false, .vars = {UINT64_MAX}},
    {"huge depth", MATCHES(CONTENT_VAR("b", NV, 0, NV, NV, .flags = RC_DEPTH)), BUF("ab"), true, .vars = {UINT64_MAX}},
};

static const struct inspect_case window_cases[] = {
    {"offset counts from the whole", MATCHES(OFFSET("b", 11)), BUF("abc"), true, .offset = 10},
    {"offset from the whole, late", MATCHES(OFFSET("b", 12)), BUF("abc"), false, .offset = 10},
    {"offset before the window", MATCHES(OFFSET("a", 3)), BUF("abc"), true, .offset = 10},
    {"depth ends before the window", MATCHES(DEPTH("a", 10)), BUF("abc"), false, .offset = 10},
    {"depth reaches into the window", MATCHES(DEPTH("a", 11)), BUF("abc"), true, .offset = 10},
    {"depth stops in the window", MATCHES(DEPTH("b", 11)), BUF("abc"), false, .offset = 10},
    {"first relative within counts from the whole", MATCHES(WITHIN("a", 10)), BUF("abc"), false, .offset = 10},
    {"huge offset of a window", MATCHES(DEPTH("a", 10)), BUF("abc"), false, .offset = UINT64_MAX},
    {"negated depth has gone", MATCHES(CONTENT("x", .flags = RC_NEGATED | RC_DEPTH, .depth = 5)), BUF("abc"), false,
     .offset = 10},
    {"negated on an open window is undecided", MATCHES(NOT("x")), BUF("abc"), false, .open = true},
    {"negated with its bounds seen is decided", MATCHES(CONTENT("x", .flags = RC_NEGATED | RC_DEPTH, .depth = 3)),
     BUF("abc"), true, .open = true},
    {"negated with bounds not yet seen", MATCHES(CONTENT("x", .flags = RC_NEGATED | RC_DEPTH, .depth = 4)), BUF("abc"),
     false, .open = true},
    {"negated within seen", MATCHES(PLAIN("a"), CONTENT("x", .flags = RC_NEGATED | RC_WITHIN, .within = 2)), BUF("abc"),
     true, .open = true},
    {"endswith needs the end", MATCHES(ENDSWITH("c")), BUF("abc"), false, .open = true},
    {"not endswith needs the end", MATCHES(CONTENT("x", .flags = RC_ENDSWITH | RC_NEGATED)), BUF("abc"), false,
     .open = true},
    {"bsize needs the end", MATCHES(BSIZE(RULE_EQ, 3, 0)), BUF("abc"), false, .open = true},
    {"bsize lower bound reached", MATCHES(BSIZE(RULE_GT, 2, 0)), BUF("abc"), true, .open = true},
    {"bsize counts the whole", MATCHES(BSIZE(RULE_EQ, 13, 0)), BUF("abc"), true, .offset = 10},
    {"isdataat is decided when there", MATCHES(ISDATAAT(2, NV, false, false)), BUF("abc"), true, .open = true},
    {"isdataat counts the whole", MATCHES(ISDATAAT(12, NV, false, false)), BUF("abc"), true, .offset = 10},
    {"no data needs the end", MATCHES(ISDATAAT(3, NV, false, true)), BUF("abc"), false, .open = true},
    {"$ needs the end", MATCHES(PCRE("c$", 0, 0)), BUF("abc"), false, .open = true},
    {"^ needs the beginning", MATCHES(PCRE("^a", 0, 0)), BUF("abc"), false, .offset = 10},
    {"anchored needs the beginning", MATCHES(PCRE("a", PCRE2_ANCHORED, 0)), BUF("abc"), false, .offset = 10},
    {"relative ^ does not", MATCHES(PLAIN("a"), PCRE("^b", 0, RP_RELATIVE)), BUF("abc"), true, .offset = 10},
    {"negated pcre needs the end", MATCHES(PCRE("x", 0, RP_NEGATED)), BUF("abc"), false, .open = true},
    {"relative chain in a window", MATCHES(PLAIN("a"), WITHIN("b", 1)), BUF("acab"), true, .offset = 1000,
     .open = true},
};

static void absolute_contents(void **state)
{
    (void)state;
    CASES_RUN(absolute_cases);
}

static void negated_contents(void **state)
{
    (void)state;
    CASES_RUN(negated_cases);
}

static void relative_contents(void **state)
{
    (void)state;
    CASES_RUN(relative_cases);
}

static void expressions(void **state)
{
    (void)state;
    CASES_RUN(pcre_cases);
}

static void sizes(void **state)
{
    (void)state;
    CASES_RUN(size_cases);
}

static void variables(void **state)
{
    (void)state;
    CASES_RUN(variable_cases);
}

static void windows(void **state)
{
    (void)state;
    CASES_RUN(window_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absolute_contents),
        cmocka_unit_test(negated_contents),
        cmocka_unit_test(relative_contents),
        cmocka_unit_test(expressions),
        cmocka_unit_test(sizes),
        cmocka_unit_test(variables),
        cmocka_unit_test(windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
