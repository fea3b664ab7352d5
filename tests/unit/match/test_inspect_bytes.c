/* byte_test, byte_jump, byte_extract, byte_math: numbers, positions, edges. */
#include "inspect_case.h"

#define TEST(o, v, n, ...)                                                                                             \
    {                                                                                                                  \
        .type = RM_BYTE_TEST, .byte_test = {                                                                           \
            .op = (o),                                                                                                 \
            .value = (v),                                                                                              \
            .negated = (n),                                                                                            \
            .value_var = NV,                                                                                           \
            .c = __VA_ARGS__                                                                                           \
        }                                                                                                              \
    }
#define JUMP(bytes, ...)                                                                                               \
    {                                                                                                                  \
        .type = RM_BYTE_JUMP, .byte_jump = {.c = bytes, .post_offset_var = NV, __VA_ARGS__ }                           \
    }
#define EXTRACT(bytes, v, mul, al)                                                                                     \
    {                                                                                                                  \
        .type = RM_BYTE_EXTRACT, .byte_extract = {.c = bytes, .var = (v), .multiplier = (mul), .align = (al) }         \
    }
#define MATH(bytes, o, rv, res)                                                                                        \
    {                                                                                                                  \
        .type = RM_BYTE_MATH, .byte_math = {                                                                           \
            .c = bytes,                                                                                                \
            .op = (o),                                                                                                 \
            .rvalue = (rv),                                                                                            \
            .rvalue_var = NV,                                                                                          \
            .result_var = (res)                                                                                        \
        }                                                                                                              \
    }
#define B(...) BYTES(__VA_ARGS__)
/* The position a jump leads to: exactly there stands s. */
#define HERE(s) WITHIN(s, sizeof(s) - 1)

static const struct inspect_case test_cases[] = {
    {"big endian", MATCHES(TEST(BT_EQ, 0x0102, false, BYTES(2, BB_BIN, false, 0))), BUF("\1\2"), true},
    {"little endian", MATCHES(TEST(BT_EQ, 0x0201, false, BYTES(2, BB_BIN, false, 0, .little = true))), BUF("\1\2"),
     true},
    {"three bytes", MATCHES(TEST(BT_EQ, 0x010203, false, BYTES(3, BB_BIN, false, 0))), BUF("\1\2\3"), true},
    {"eight bytes", MATCHES(TEST(BT_EQ, UINT64_MAX, false, BYTES(8, BB_BIN, false, 0))),
     BUF("\xff\xff\xff\xff\xff\xff\xff\xff"), true},
    {"one byte past the end", MATCHES(TEST(BT_GE, 0, false, BYTES(2, BB_BIN, false, 1))), BUF("\1\2"), false},
    {"past the end is no negated match either", MATCHES(TEST(BT_EQ, 7, true, BYTES(2, BB_BIN, false, 1))), BUF("\1\2"),
     false},
    {"before the beginning", MATCHES(TEST(BT_GE, 0, false, BYTES(1, BB_BIN, false, -1))), BUF("\1\2"), false},
    {"empty buffer", MATCHES(TEST(BT_GE, 0, false, BYTES(1, BB_BIN, false, 0))), BUF(""), false},
    {"less", MATCHES(TEST(BT_LT, 5, false, BYTES(1, BB_BIN, false, 0))), BUF("\4"), true},
    {"not less", MATCHES(TEST(BT_LT, 4, false, BYTES(1, BB_BIN, false, 0))), BUF("\4"), false},
    {"negated less", MATCHES(TEST(BT_LT, 4, true, BYTES(1, BB_BIN, false, 0))), BUF("\4"), true},
    {"less or equal", MATCHES(TEST(BT_LE, 4, false, BYTES(1, BB_BIN, false, 0))), BUF("\4"), true},
    {"greater", MATCHES(TEST(BT_GT, 3, false, BYTES(1, BB_BIN, false, 0))), BUF("\4"), true},
    {"greater or equal", MATCHES(TEST(BT_GE, 5, false, BYTES(1, BB_BIN, false, 0))), BUF("\4"), false},
    {"and", MATCHES(TEST(BT_AND, 0x80, false, BYTES(1, BB_BIN, false, 0))), BUF("\x81"), true},
    {"and, none", MATCHES(TEST(BT_AND, 0x02, false, BYTES(1, BB_BIN, false, 0))), BUF("\x81"), false},
    {"xor differs", MATCHES(TEST(BT_OR, 0x80, false, BYTES(1, BB_BIN, false, 0))), BUF("\x81"), true},
    {"xor equal", MATCHES(TEST(BT_OR, 0x81, false, BYTES(1, BB_BIN, false, 0))), BUF("\x81"), false},
    {"bitmask shifts", MATCHES(TEST(BT_EQ, 5, false, BYTES(1, BB_BIN, false, 0, .bitmask = 0xf0, .bitmask_shift = 4))),
     BUF("\x5a"), true},
    {"relative", MATCHES(PLAIN("len="), TEST(BT_EQ, 7, false, BYTES(1, BB_BIN, true, 0))), BUF("len=\7"), true},
    {"relative negative offset", MATCHES(PLAIN("b"), TEST(BT_EQ, 'a', false, BYTES(1, BB_BIN, true, -2))), BUF("ab"),
     true},
    {"relative at the end", MATCHES(PLAIN("b"), TEST(BT_GE, 0, false, BYTES(1, BB_BIN, true, 0))), BUF("ab"), false},
    {"relative retries the anchor", MATCHES(PLAIN("x"), TEST(BT_EQ, '2', false, BYTES(1, BB_BIN, true, 0))),
     BUF("x1x2"), true},
    {"does not move the base", MATCHES(PLAIN("a"), TEST(BT_EQ, 'b', false, BYTES(1, BB_BIN, true, 0)), HERE("b")),
     BUF("ab"), true},
    {"decimal text", MATCHES(TEST(BT_EQ, 123, false, BYTES(3, BB_DEC, false, 0))), BUF("123"), true},
    {"decimal text stops at a letter", MATCHES(TEST(BT_EQ, 12, false, BYTES(4, BB_DEC, false, 0))), BUF("12ab"), true},
    {"decimal text skips blanks", MATCHES(TEST(BT_EQ, 12, false, BYTES(4, BB_DEC, false, 0))), BUF("  12"), true},
    {"no number", MATCHES(TEST(BT_GE, 0, false, BYTES(3, BB_DEC, false, 0))), BUF("abc"), false},
    {"hex text", MATCHES(TEST(BT_EQ, 0xff, false, BYTES(4, BB_HEX, false, 0))), BUF("0xff"), true},
    {"octal text", MATCHES(TEST(BT_EQ, 8, false, BYTES(2, BB_OCT, false, 0))), BUF("10"), true},
    {"text beyond 64 bits", MATCHES(TEST(BT_GE, 0, false, BYTES(23, BB_DEC, false, 0))), BUF("99999999999999999999999"),
     false},
    {"largest octal", MATCHES(TEST(BT_EQ, UINT64_MAX, false, BYTES(23, BB_OCT, false, 0))),
     BUF("01777777777777777777777"), true},
    {"absolute counts from the whole", MATCHES(TEST(BT_EQ, 'b', false, BYTES(1, BB_BIN, false, 11))), BUF("abc"), true,
     .offset = 10},
    {"absolute before the window is gone", MATCHES(TEST(BT_GE, 0, false, BYTES(1, BB_BIN, false, 9))), BUF("abc"),
     false, .offset = 10},
};

static const struct inspect_case jump_cases[] = {
    {"jump", MATCHES(JUMP(B(1, BB_BIN, false, 0)), HERE("X")), BUF("\2__X"), true, "X"},
    {"jump is exact", MATCHES(JUMP(B(1, BB_BIN, false, 0)), HERE("X")), BUF("\2___X"), false},
    {"jump relative", MATCHES(PLAIN("L"), JUMP(B(1, BB_BIN, true, 0)), HERE("X")), BUF("__L\1_X"), true},
    {"jump retries the anchor", MATCHES(PLAIN("L"), JUMP(B(1, BB_BIN, true, 0)), HERE("X")), BUF("L\1__L\1_X"), true},
    {"jump to the last byte", MATCHES(JUMP(B(1, BB_BIN, false, 0)), HERE("X")), BUF("\0X"), true},
    {"jump to the end fails", MATCHES(JUMP(B(1, BB_BIN, false, 0))), BUF("\1_"), false},
    {"multiplier", MATCHES(JUMP(B(1, BB_BIN, false, 0), .multiplier = 3), HERE("X")), BUF("\1___X"), true},
    {"align", MATCHES(JUMP(B(1, BB_BIN, false, 0), .multiplier = 1, .align = true), HERE("X")), BUF("\1____X"), true},
    {"aligned already", MATCHES(JUMP(B(1, BB_BIN, false, 0), .multiplier = 1, .align = true), HERE("X")),
     BUF("\4____X"), true},
    {"post offset", MATCHES(JUMP(B(1, BB_BIN, false, 0), .multiplier = 1, .post_offset = -2), HERE("_")), BUF("\3__X"),
     true},
    {"before the beginning is the beginning",
     MATCHES(JUMP(B(1, BB_BIN, false, 1), .multiplier = 1, .post_offset = -90), HERE("X")), BUF("X\1"), true},
    {"from beginning", MATCHES(JUMP(B(1, BB_BIN, false, 2), .multiplier = 1, .from_beginning = true), HERE("X")),
     BUF("_X\1_"), true},
    {"from end", MATCHES(JUMP(B(0, BB_BIN, false, 0), .multiplier = 1, .post_offset = -2, .from_end = true), HERE("X")),
     BUF("____X_"), true},
    {"from end needs the end",
     MATCHES(JUMP(B(0, BB_BIN, false, 0), .multiplier = 1, .post_offset = -2, .from_end = true), HERE("X")),
     BUF("____X_"), false, .open = true},
    {"text jumps from behind its digits", MATCHES(JUMP(B(3, BB_DEC, false, 0), .multiplier = 1), HERE("X")),
     BUF("1;_X"), false},
    {"text digits", MATCHES(JUMP(B(3, BB_DEC, false, 0), .multiplier = 1), HERE("X")), BUF("1;X_"), true},
    {"huge value fails", MATCHES(JUMP(B(8, BB_BIN, false, 0), .multiplier = 1)),
     BUF("\x7f\xff\xff\xff\xff\xff\xff\xff_"), false},
    {"post offset by variable",
     MATCHES({.type = RM_BYTE_JUMP, .byte_jump = {.c = B(1, BB_BIN, false, 0), .multiplier = 1, .post_offset_var = 1}},
             HERE("X")),
     BUF("\1__X"), true, .vars = {0, 1}},
    {"nbytes by variable out of range",
     MATCHES({.type = RM_BYTE_JUMP,
              .byte_jump = {.c = {.base = BB_BIN, .nbytes_var = 0, .offset_var = NV},
                            .multiplier = 1,
                            .post_offset_var = NV}}),
     BUF("\0\0\0\0\0\0\0\0\0\0____"), false, .vars = {9}},
};

static const struct inspect_case extract_cases[] = {
    {"extract feeds within",
     MATCHES(EXTRACT(B(1, BB_BIN, false, 0), 0, 1, 0), CONTENT_VAR("X", NV, NV, NV, 0, .flags = RC_WITHIN)),
     BUF("\3__X"), true},
    {"extract feeds within, short",
     MATCHES(EXTRACT(B(1, BB_BIN, false, 0), 0, 1, 0), CONTENT_VAR("X", NV, NV, NV, 0, .flags = RC_WITHIN)),
     BUF("\2__X"), false},
    {"extract feeds offset",
     MATCHES(EXTRACT(B(1, BB_BIN, false, 0), 3, 1, 0), CONTENT_VAR("X", 3, NV, NV, NV, .flags = RC_OFFSET)),
     BUF("\2_X"), true},
    {"extract moves the base", MATCHES(EXTRACT(B(2, BB_BIN, false, 0), 0, 1, 0), HERE("X")), BUF("__X"), true},
    {"extract multiplier and align", MATCHES(EXTRACT(B(1, BB_BIN, false, 0), 0, 3, 4), ISDATAAT(0, 0, false, false)),
     BUF("\1____"), true},
    {"extract multiplier and align, one short",
     MATCHES(EXTRACT(B(1, BB_BIN, false, 0), 0, 3, 4), ISDATAAT(0, 0, false, false)), BUF("\1___"), false},
    {"extract is done again for the next anchor",
     MATCHES(PLAIN("L"), EXTRACT(B(1, BB_BIN, true, 0), 0, 1, 0), CONTENT_VAR("X", NV, NV, NV, 0, .flags = RC_WITHIN)),
     BUF("L\1_XL\2_X"), true},
    {"extract past the end", MATCHES(EXTRACT(B(2, BB_BIN, false, 2), 0, 1, 0)), BUF("abc"), false},
    {"extract then test",
     MATCHES(EXTRACT(B(1, BB_BIN, false, 0), 1, 1, 0),
             {.type = RM_BYTE_TEST, .byte_test = {.op = BT_EQ, .value_var = 1, .c = B(1, BB_BIN, false, 1)}}),
     BUF("aa"), true},
    {"math add", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_ADD, 2, 0), ISDATAAT(0, 0, false, false)), BUF("\1__X"), true},
    {"math sub", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_SUB, 1, 0), ISDATAAT(0, 0, false, false)), BUF("\2_"), true},
    {"math sub wraps", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_SUB, 3, 0), ISDATAAT(0, 0, false, false)), BUF("\2_"),
     false},
    {"math mul", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_MUL, 3, 0), ISDATAAT(0, 0, false, false)), BUF("\1__X"), true},
    {"math div", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_DIV, 3, 0), ISDATAAT(0, 0, false, false)), BUF("\x9__X"),
     true},
    {"math div by zero", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_DIV, 0, 0)), BUF("\x9__X"), false},
    {"math shift left", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_LSHIFT, 1, 0), ISDATAAT(0, 0, false, false)),
     BUF("\1_X"), true},
    {"math shift by 64 is 0", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_LSHIFT, 64, 0), ISDATAAT(0, 0, false, false)),
     BUF("\1"), true},
    {"math mask applies to the result",
     MATCHES(MATH(B(1, BB_BIN, false, 0, .bitmask = 0x6, .bitmask_shift = 1), BM_ADD, 1, 0),
             ISDATAAT(0, 0, false, false)),
     BUF("\3__"), true},
    {"math moves the base", MATCHES(MATH(B(1, BB_BIN, false, 0), BM_ADD, 2, 0), HERE("X")), BUF("\1X"), true},
};

static void byte_test(void **state)
{
    (void)state;
    CASES_RUN(test_cases);
}

static void byte_jump(void **state)
{
    (void)state;
    CASES_RUN(jump_cases);
}

static void extract_and_math(void **state)
{
    (void)state;
    CASES_RUN(extract_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_test),
        cmocka_unit_test(byte_jump),
        cmocka_unit_test(extract_and_math),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
