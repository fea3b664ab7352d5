/* The executable as its user meets it: exit codes, one clear line, nothing half done. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char out[65536];

/* Runs `sekisho ARGS` with both outputs in `out`; returns its exit status. */
static int run(const char *args)
{
    char cmd[1024];
    snprintf(cmd, sizeof(cmd), "%s %s 2>&1", SEKISHO, args);
    FILE *p = popen(cmd, "r");
    assert_non_null(p);
    size_t n = fread(out, 1, sizeof(out) - 1, p);
    out[n] = '\0';
    int st = pclose(p);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

static unsigned count_lines(const char *s)
{
    unsigned n = 0;
    for (; *s != '\0'; s++)
        n += *s == '\n';
    return n;
}

static void every_verb_of_the_table_has_help(void **state)
{
    (void)state;
    static char table[sizeof(out)];
    char cmd[64], want[64];
    assert_int_equal(run("help --table"), 0);
    memcpy(table, out, sizeof(table));
    unsigned verbs = 0;
    char *save;
    for (char *line = strtok_r(table, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char *tab = strchr(line, '\t');
        assert_non_null(tab);
        *tab = '\0';
        snprintf(want, sizeof(want), "Usage: sekisho %.30s", line);
        snprintf(cmd, sizeof(cmd), "%.30s --help", line);
        assert_int_equal(run(cmd), 0);
        assert_memory_equal(out, want, strlen(want));
        snprintf(cmd, sizeof(cmd), "help %.30s", line);
        assert_int_equal(run(cmd), 0);
        assert_memory_equal(out, want, strlen(want));
        verbs++;
    }
    assert_true(verbs >= 10);
}

static void wrong_usage_is_2_and_names_the_mistake(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "Usage"},
        {"frobnicate", "frobnicate"},
        {"status now", "too many"},
        {"block", "missing"},
        {"blocks --reason x", "'--reason' is for other verbs"},
        {"status --release", "'--release' is for other verbs"},
        {"blocks --for 1h", "--history"},
        {"blocks --sort size", "size"},
        {"blocks --origin moon", "moon"},
        {"blocks --limit 0", "--limit"},
        {"blocks --limit 10x", "10x"},
        {"unblock --all 192.0.2.1", "too many"},
        {"brake now", "too many"},
        {"unblock --nonsense x", "nonsense"},
        {"run eth0", "eth0"},
        {"run --mode maybe", "maybe"},
        {"run -i 'a b'", "a b"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(run(cases[i][0]), 2);
        assert_non_null(strstr(out, cases[i][1]));
    }
}

static void bad_input_is_1_in_one_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"status --socket /nonexistent/s", "/nonexistent/s"},
        {"block --socket /nonexistent/s 1.2.3.4/8", "1.2.3.4/8"},
        {"block --socket /nonexistent/s 300.1.1.1", "300.1.1.1"},
        {"block --socket /nonexistent/s 1.2.3.4 --for soon", "soon"},
        {"run -c /nonexistent.yaml", "/nonexistent.yaml"},
        {"run --set capture.workers=9999", "9999"},
        {"run --set no.such.key=1", "no.such.key"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(run(cases[i][0]), 1);
        assert_int_equal(count_lines(out), 1);
        assert_non_null(strstr(out, cases[i][1]));
    }
}

static void run_leaves_nothing_when_it_cannot_start(void **state)
{
    (void)state;
    char dir[] = "/tmp/sekisho-cli-XXXXXX", args[512], path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(args, sizeof(args),
             "run -S /dev/null/x.rules --set guard.control-socket=%s/c.sock --set guard.state-dir=%s/state "
             "--set outputs.eve.path=%s/eve.json",
             dir, dir, dir);
    assert_int_equal(run(args), 1);
    snprintf(args, sizeof(args),
             "run -i nosuch0 --set rule-files=[] --set guard.control-socket=%s/c.sock --set guard.state-dir=%s/state "
             "--set outputs.eve.path=%s/eve.json",
             dir, dir, dir);
    assert_int_equal(run(args), 1);
    assert_non_null(strstr(out, geteuid() == 0 ? "nosuch0" : "root"));
    snprintf(path, sizeof(path), "%s/c.sock", dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(dir), 0); /* empty: neither state nor log */
}

static void run_refuses_to_pretend_that_it_prevents(void **state)
{
    (void)state;
    assert_int_equal(run("run --mode prevent"), 1);
    assert_non_null(strstr(out, "prevent mode"));
}

static void roles_cannot_be_started_by_hand(void **state)
{
    (void)state;
    assert_int_equal(run("role-engine"), 1);
    assert_int_equal(run("role-reporter"), 1);
    assert_int_equal(run("help"), 0);
    assert_null(strstr(out, "role-"));
}

static void what_cannot_be_printed_is_a_failure(void **state)
{
    (void)state;
    assert_int_equal(run("check --list-keywords 3>&1 >/dev/full 2>&3 #"), 1);
    assert_non_null(strstr(out, "standard output"));
    assert_int_equal(count_lines(out), 1);
}

/* Started with a capture that goes on, on standard input; returns when it has begun to write. */
static pid_t begin_replay(const char *dir, int *feed)
{
    static const uint32_t header[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1};
    char partial[128];
    int p[2];
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(p[0], STDIN_FILENO);
        close(p[1]);
        signal(SIGINT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) != NULL)
            execl(SEKISHO, SEKISHO, "replay", "-q", "-l", dir, "-", (char *)NULL);
        _exit(99);
    }
    close(p[0]);
    assert_int_equal(write(p[1], header, sizeof(header)), sizeof(header));
    snprintf(partial, sizeof(partial), "%s/eve.json.partial", dir);
    for (int i = 0; i < 1000 && access(partial, F_OK) != 0; i++)
        usleep(10000);
    assert_int_equal(access(partial, F_OK), 0);
    *feed = p[1];
    return pid;
}

static void an_interrupted_replay_leaves_nothing_behind(void **state)
{
    (void)state;
    char dir[] = "/tmp/sk-cli-XXXXXX";
    int feed, st;
    assert_non_null(mkdtemp(dir));
    pid_t pid = begin_replay(dir, &feed);
    kill(pid, SIGINT);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    close(feed);
    assert_true(WIFSIGNALED(st));
    assert_int_equal(WTERMSIG(st), SIGINT);
    assert_int_equal(rmdir(dir), 0); /* it is empty */
}

int main(void)
{
    unsetenv("JOURNAL_STREAM");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_of_the_table_has_help),
        cmocka_unit_test(wrong_usage_is_2_and_names_the_mistake),
        cmocka_unit_test(what_cannot_be_printed_is_a_failure),
        cmocka_unit_test(an_interrupted_replay_leaves_nothing_behind),
        cmocka_unit_test(bad_input_is_1_in_one_line),
        cmocka_unit_test(run_leaves_nothing_when_it_cannot_start),
        cmocka_unit_test(run_refuses_to_pretend_that_it_prevents),
        cmocka_unit_test(roles_cannot_be_started_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
