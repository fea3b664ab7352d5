/* Every file of tests/scenario/stream. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "scenario.h"

static void test_scenarios(void **state)
{
    (void)state;
    glob_t g;
    assert_int_equal(glob("tests/scenario/stream/*.txt", 0, NULL, &g), 0);
    assert_true(g.gl_pathc >= 25);
    int failures = 0;
    for (size_t i = 0; i < g.gl_pathc; i++)
        failures += scenario_run(g.gl_pathv[i]);
    globfree(&g);
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return scenario_run(argv[1]) != 0; /* one file, while writing it */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scenarios)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
