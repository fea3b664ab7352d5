/* `waf plan`, `waf apply`, `waf status`. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "cli.h"
#include "fetch/fetch.h"
#include "leftover.h"
#include "options.h"
#include "show.h"
#include "world.h"

#define APPLY_PATIENCE (120 * SK_NS_PER_S) /* without a write that succeeded */

struct work {
    struct aws *aws;
    struct waf_options options;
    struct world world;
    struct waf *waf;
};

static int work_open(struct options *o, struct work *w)
{
    char why[256] = "";
    memset(w, 0, sizeof(*w));
    if (o->settings->waf.ntargets == 0)
        return cli_fail("waf.targets is empty: there is nowhere to write to");
    if (fetch_init() != SK_OK || world_aws(o->settings, &w->aws) != SK_OK)
        return cli_fail("AWS cannot be set up");
    if (world_options(o->settings, w->aws, &w->options, why, sizeof(why)) != SK_OK)
        return cli_fail("%s", why[0] != '\0' ? why : "out of memory");
    if (world_open(&w->world, o->store, w->aws, &w->options) != SK_OK || world_waf(&w->world, &w->waf) != SK_OK)
        return cli_fail("out of memory");
    return CLI_OK;
}

static int work_close(struct work *w, int rc)
{
    if (w->waf != NULL)
        waf_free(w->waf);
    world_close(&w->world);
    world_options_free(&w->options);
    if (w->aws != NULL)
        aws_close(w->aws);
    fetch_thread_end();
    return rc;
}

struct planned {
    char last[256]; /* set whose heading was printed */
    unsigned add, del, evicted;
};

static void print_step(void *arg, const struct waf_set_status *s, char sign, const struct sk_prefix *p, const char *why)
{
    struct planned *n = arg;
    char head[256], buf[SK_PREFIX_STRLEN];
    snprintf(head, sizeof(head), "%s %s %s", s->name, s->target->scope == WAFV2_REGIONAL ? "REGIONAL" : "CLOUDFRONT",
             s->target->region);
    if (strcmp(head, n->last) != 0)
        printf("%s\n", strcpy(n->last, head));
    printf("  %c %s%s%s\n", sign, sk_prefix_format(p, buf), why != NULL && why[0] != '\0' ? "  " : "",
           why != NULL ? why : "");
    n->add += sign == '+';
    n->del += sign == '-';
    n->evicted += sign == '!';
}

static int print_errors(const struct waf *waf)
{
    int rc = CLI_OK;
    for (unsigned i = 0; i < waf_sets(waf); i++) {
        struct waf_set_status s;
        waf_set_status(waf, i, &s);
        if (s.error[0] != '\0')
            rc = cli_fail("%s in %s: %s", s.name, s.target->region, s.error);
    }
    return rc;
}

static void print_leftover(void *arg, const struct leftover *l)
{
    bool *any = arg;
    if (!*any)
        printf(
            "left over from an earlier configuration; no target names them, and nobody takes out what is in them:\n");
    *any = true;
    printf("  %s %s %s  ", l->name, l->scope == WAFV2_REGIONAL ? "REGIONAL" : "CLOUDFRONT", l->region);
    if (l->error[0] == '\0')
        printf("%zu of ours\n", l->ours);
    else
        printf("%zu of ours were in it; it cannot be read: %s\n", l->ours, l->error);
}

static int print_leftovers(struct world *w)
{
    bool any = false;
    int rc = leftover_sets(w, print_leftover, &any);
    if (any)
        printf("delete these sets in AWS once no web ACL refers to them, or name their scope, region and prefix in"
               " waf.targets again\n");
    return rc;
}

int cmd_waf_plan(int argc, char **argv)
{
    struct options o;
    struct work w = {.aws = NULL};
    struct planned n = {.last = ""};
    int rc = options_open(&o, argc, argv, "", 0, 0);
    if (rc == CLI_OK)
        rc = work_open(&o, &w);
    w.world.quiet = w.world.paced = true;
    if (rc == CLI_OK) {
        int err = waf_plan(w.waf, sk_now_wall(), print_step, &n);
        rc = print_errors(w.waf);
        if (err == SK_OK)
            printf("%u to add, %u to remove, %u left out\n", n.add, n.del, n.evicted);
        else if (rc == CLI_OK)
            rc = cli_fail("no plan: %s", sk_strerror(err));
        if (print_leftovers(&w.world) != SK_OK)
            rc = options_store_failed(&o);
    }
    rc = work_close(&w, rc);
    return options_close(&o, rc);
}

static void sleep_until(int64_t next, int64_t now)
{
    int64_t ns = next - now;
    if (ns > SK_NS_PER_S)
        ns = SK_NS_PER_S;
    if (ns < SK_NS_PER_MS)
        ns = SK_NS_PER_MS;
    struct timespec ts = {.tv_sec = ns / SK_NS_PER_S, .tv_nsec = ns % SK_NS_PER_S};
    nanosleep(&ts, NULL);
}

static int apply(struct work *w)
{
    int64_t began = sk_now_wall(), next;
    for (;;) {
        int64_t now = sk_now_wall(), good = waf_stats(w->waf)->last_ok;
        if (store_lead(w->world.store) != SK_OK)
            return cli_fail("a running manager writes to AWS WAF already; `waf status` shows what it does");
        waf_step(w->waf, now, &next);
        if (waf_converged(w->waf))
            break;
        if (now - (good > began ? good : began) > APPLY_PATIENCE) {
            int rc = print_errors(w->waf);
            return rc != CLI_OK ? rc : cli_fail("it does not come to an end");
        }
        sleep_until(next, now);
    }
    const struct waf_stats *t = waf_stats(w->waf);
    printf("AWS WAF holds what the fleet blocks: %llu write%s, %llu left out\n", (unsigned long long)t->writes,
           t->writes == 1 ? "" : "s", (unsigned long long)t->evicted);
    return CLI_OK;
}

int cmd_waf_apply(int argc, char **argv)
{
    struct options o;
    struct work w = {.aws = NULL};
    int rc = options_open(&o, argc, argv, "", 0, 0);
    if (rc == CLI_OK)
        rc = work_open(&o, &w);
    w.world.leads = true;
    if (rc == CLI_OK && store_audit(o.store, options_now(), o.who, "waf.apply", "") != SK_OK)
        rc = options_store_failed(&o);
    if (rc == CLI_OK)
        rc = apply(&w);
    rc = work_close(&w, rc);
    return options_close(&o, rc);
}

static void print_status(json_t *j)
{
    static const struct show_column columns[] = {
        {"SET", "set", SHOW_TEXT, 0},
        {"SCOPE", "scope", SHOW_TEXT, 0},
        {"REGION", "region", SHOW_TEXT, 0},
        {"OURS", "ours", SHOW_NUMBER, 0},
        {"FOREIGN", "foreign", SHOW_NUMBER, 0},
        {"WANTED", "wanted", SHOW_NUMBER, 0},
        {"LEFT OUT", "evicted", SHOW_NUMBER, 0},
        {"FITS", "converged", SHOW_TEXT, 0},
        {"WRITTEN", "written_ms", SHOW_AGO, 0},
        {"ERROR", "error", SHOW_TEXT, 120},
    };
    static const struct show_column head[] = {
        {"As of", "time_ms", SHOW_TIME, 0},
        {"By", "manager", SHOW_TEXT, 0},
        {"Dry run", "dry_run", SHOW_TEXT, 0},
        {"All fit", "converged", SHOW_TEXT, 0},
        {"Last write", "last_write_ms", SHOW_TIME, 0},
        {"Counters", "counters", SHOW_TEXT, 0},
    };
    json_t *sets = json_incref(json_object_get(j, "sets"));
    show_object(j, false, head, sizeof(head) / sizeof(head[0]), options_now());
    putchar('\n');
    show_rows(sets, false, columns, sizeof(columns) / sizeof(columns[0]), options_now(), "there are no sets");
}

int cmd_waf_status(int argc, char **argv)
{
    struct options o;
    char *text = NULL;
    int rc = options_open(&o, argc, argv, "j", 0, 0);
    if (rc != CLI_OK)
        return options_close(&o, rc);
    int err = store_memo_get(o.store, "waf.status", &text);
    json_t *j = err == SK_OK ? json_loads(text, 0, NULL) : NULL;
    if (err == SK_ENOENT)
        rc = cli_fail("no manager has written to AWS WAF yet (waf.enabled)");
    else if (err != SK_OK)
        rc = options_store_failed(&o);
    else if (j == NULL)
        rc = cli_fail("what the manager has left makes no sense");
    else if (o.json)
        show_object(j, true, NULL, 0, 0);
    else
        print_status(j);
    free(text);
    return options_close(&o, rc);
}
