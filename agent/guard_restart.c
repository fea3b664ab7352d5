/* The agent that would come after this one: is another program installed, and would it start? */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "engine_role.h"
#include "guard.h"

void guard_program_note(struct guard_program *p)
{
    struct stat st = {0};
    ssize_t n = readlink("/proc/self/exe", p->path, sizeof(p->path) - 1);
    if (n <= 0 || stat("/proc/self/exe", &st) != 0)
        n = 0;
    p->path[n] = '\0';
    p->dev = st.st_dev;
    p->ino = st.st_ino;
}

/* Roles are started from the file that runs, which an upgrade leaves as it is until the last of them has ended. */
bool guard_program_replaced(const struct guard_program *p)
{
    struct stat st;
    if (p->path[0] == '\0')
        return false;
    return stat(p->path, &st) != 0 || st.st_dev != p->dev || st.st_ino != p->ino;
}

int guard_would_start(const struct guard_options *opt, const struct sk_diag_sink *diag, struct engine_rule_stats *st)
{
    int fd = -1;
    struct guard *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return SK_ENOMEM;
    g->opt = *opt;
    g->bundles.of[BUNDLE_POLICY].fd = g->bundles.of[BUNDLE_RULES].fd = -1;
    int rc = guard_read_conf(g, diag, &g->conf);
    if (rc == SK_OK)
        (void)guard_home_update(g);
    if (rc == SK_OK)
        rc = guard_make_bundle(g, g->conf, diag, &fd);
    if (rc == SK_OK)
        rc = loader_try(fd, diag, st);
    json_decref(g->bundles.settings);
    conf_free(g->conf);
    guard_load_free(g);
    free(g);
    return rc;
}
