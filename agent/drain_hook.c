/* EC2's side of the end of an instance: who says that it comes, and who waits for us. */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "cli.h"
#include "drain.h"
#include "retry.h"

#define POLL_MS    5000
#define STATE_PATH "/latest/meta-data/autoscaling/target-lifecycle-state"
#define SPOT_PATH  "/latest/meta-data/spot/instance-action"
#define GROUP_PATH "/latest/meta-data/tags/instance/aws:autoscaling:groupName"

/* --- when --- */

/* Also "Warmed:Terminated", of a warm pool. */
static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* {"action": "terminate", "time": "..."}: two minutes before. */
static bool spot_ends(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    const char *action = json_string_value(json_object_get(o, "action"));
    bool ends = action != NULL && strcmp(action, "terminate") == 0;
    json_decref(o);
    return ends;
}

/* SK_OK: *text is the caller's, trimmed. */
static int look(struct aws *aws, const char *path, char **text, char *why, size_t cap)
{
    int rc = aws_imds(aws, path, text, why, cap);
    if (rc == SK_OK)
        (*text)[strcspn(*text, "\r\n")] = '\0';
    return rc;
}

static bool is_over(struct aws *aws, bool *hooked, int *rc, char *why, size_t cap)
{
    char *text = NULL;
    *rc = look(aws, STATE_PATH, &text, why, cap);
    bool group = *rc == SK_OK && ends_with(text, "Terminated");
    free(text);
    if (group) {
        *hooked = true;
        printf("The Auto Scaling group terminates this instance.\n");
        return true;
    }
    if (*rc != SK_OK && *rc != SK_ENOENT)
        return false;
    int spot_rc = look(aws, SPOT_PATH, &text, why, cap);
    bool spot = spot_rc == SK_OK && spot_ends(text);
    if (spot_rc == SK_OK)
        free(text);
    if (spot)
        printf("EC2 takes this spot instance back.\n");
    return spot;
}

void drain_wait(struct aws *aws, bool *hooked)
{
    char why[512];
    bool said = false;
    int rc;
    *hooked = false;
    printf("Waiting for the end of this instance.\n");
    while (!is_over(aws, hooked, &rc, why, sizeof(why))) {
        bool silent = rc != SK_OK && rc != SK_ENOENT;
        if (silent && !said)
            fprintf(stderr, "sekisho: %s: not known whether this instance ends; asking on\n", why);
        if (!silent && said)
            fprintf(stderr, "sekisho: instance metadata answers again\n");
        said = silent;
        (void)poll(NULL, 0, POLL_MS);
    }
}

/* --- who waits --- */

struct action {
    char region[32], instance[AWS_INSTANCE_LEN], group[AWS_GROUP_LEN];
};

/* By the option, the instance's tags where they are in the metadata, or Auto Scaling itself. */
static int find_group(const struct drain_args *a, struct aws *aws, struct action *x, struct aws_answer *e)
{
    char why[512], *text = NULL;
    if (a->group != NULL) {
        snprintf(x->group, sizeof(x->group), "%s", a->group);
        return SK_OK;
    }
    if (look(aws, GROUP_PATH, &text, why, sizeof(why)) == SK_OK && text[0] != '\0' && strlen(text) < AWS_GROUP_LEN) {
        snprintf(x->group, sizeof(x->group), "%s", text);
        free(text);
        return SK_OK;
    }
    free(text);
    int rc = aws_group_find(aws, x->region, x->instance, x->group, e);
    aws_answer_free(e);
    return rc;
}

static int complete_once(const struct drain_args *a, struct aws *aws, struct action *x, struct aws_answer *e, char *why,
                         size_t cap)
{
    *e = (struct aws_answer){.error = AWS_RETRY, .retry_after = -1};
    if (aws_imds_instance(aws, x->instance, why, cap) != SK_OK ||
        cloud_region(aws, &a->cloud, NULL, x->region, why, cap) != CLI_OK)
        return SK_EIO;
    int rc = find_group(a, aws, x, e);
    if (rc == SK_OK) {
        rc = aws_lifecycle_complete(aws, x->region, x->group, a->hook, x->instance, e);
        aws_answer_free(e);
    }
    if (rc != SK_OK)
        snprintf(why, cap, "lifecycle hook %s: %s%s%s", a->hook, e->code, e->code[0] != '\0' ? ": " : "", e->message);
    return rc;
}

/* Completed before, or nobody waits. */
static bool nobody_waits(const struct aws_answer *e)
{
    return strstr(e->message, "No active Lifecycle Action found") != NULL;
}

int drain_complete(const struct drain_args *a, struct aws *aws, int64_t until)
{
    char why[1024];
    struct aws_answer e;
    struct action x;
    struct retry again;
    int64_t left = (until - sk_now_mono()) / SK_NS_PER_S;
    retry_begin(&again, left > 0 ? left : 0);
    while (complete_once(a, aws, &x, &e, why, sizeof(why)) != SK_OK) {
        if (nobody_waits(&e)) {
            printf("No lifecycle action of hook %s waits for %s: it has been completed before, or has timed out.\n",
                   a->hook, x.instance);
            return CLI_OK;
        }
        if (!cloud_may_pass(e.error) || !retry_wait(&again, e.retry_after > 0 ? e.retry_after : 0, why))
            return cli_fail("%s", why);
    }
    printf("Hook %s of group %s: %s may go.\n", a->hook, x.group, x.instance);
    return CLI_OK;
}
