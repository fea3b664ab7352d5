/*
 * Configuration of the manager: manager.yaml to one struct, with a finding (file:line:column) for each mistake. One
 * table of keys (settings_table.c) serves the YAML reader, `--set KEY=VALUE` and sekisho-manager.yaml(5); in YAML the
 * dots of a key are nesting, and the value of --set is YAML too: waf.targets='[{region: eu-west-1, prefix: sekisho}]'.
 *
 * Life cycle: settings_load, any settings_set, settings_check; from there on read-only, shared by threads. Everything
 * in it belongs to it until settings_free. Times are ns. Strings are never NULL; one that is absent is "".
 */
#ifndef MANAGER_SETTINGS_H
#define MANAGER_SETTINGS_H

#include "base/addr.h"
#include "base/diag.h"
#include "output/output.h"
#include "waf/waf.h"

#define SETTINGS_PATH        "/etc/sekisho/manager.yaml" /* read when there is no -c; need not exist */
#define SETTINGS_TEXT_MAX    (1u << 20)                  /* bytes of a file; a longer one is refused */
#define SETTINGS_LIST_MAX    4096                        /* entries of a list of prefixes */
#define SETTINGS_WORDS_MAX   256                         /* entries of another list */
#define SETTINGS_RECORDS_MAX 16                          /* waf.targets, outputs */
#define SETTINGS_DIAGS_MAX   20                          /* findings about one text; then the reader stops */

struct settings_list {
    const char *const *v;
    uint32_t n;
};
struct settings_prefixes {
    const struct sk_prefix *v;
    uint32_t n;
};

struct settings {
    const char *listen; /* ADDRESS:PORT, checked: settings_listen */
    struct settings_list names;
    const char *state_dir, *store; /* store "": sqlite in state_dir */
    const char *certificate, *key; /* of one's own; "" both: of the manager's CA */

    struct {
        int64_t retire_after, cert_lifetime, heartbeat, max_block; /* retire_after 0: never */
        uint32_t max_blocks;                                       /* of one agent, a day */
        bool follow_instances;
    } agents;
    struct {
        uint32_t connections, per_address, agent_rate, address_rate;
    } limits;
    struct settings_prefixes never;
    struct {
        const char *certificates;
        bool required;
        struct settings_list accounts, regions;
        int64_t max_age; /* 0: any */
    } identity;
    struct {
        bool enabled, dry_run;
        struct waf_target *targets;
        uint32_t ntargets;
        uint32_t aggregate_v4, aggregate_v6;
        struct settings_prefixes never;
        int64_t write_gap, coalesce, read_back;
        uint32_t capacity;
    } waf;
    struct {
        const char *endpoint, *imds, *profile, *ca_file;
        int64_t timeout;
    } aws;
    struct output_sink *outputs;
    uint32_t noutputs;
    struct {
        int64_t events, blocks, audit, agents;
        uint32_t events_most;
    } keep;

    struct settings_priv *priv; /* memory, and where each key stood */
};

/* path NULL: SETTINGS_PATH if it is there, else defaults. SK_EINVAL, SK_ENOENT, SK_EPERM, SK_EIO after a finding;
 * SK_ENOMEM. *out is NULL then. */
SK_MUST_USE int settings_load(const char *path, const struct sk_diag_sink *sink, struct settings **out);
/* The same from memory; name is for findings. */
SK_MUST_USE int settings_load_text(const char *name, const char *text, size_t len, const struct sk_diag_sink *sink,
                                   struct settings **out);
/* "KEY=VALUE". SK_EINVAL with a finding, and nothing has changed. */
SK_MUST_USE int settings_set(struct settings *s, const char *key_value, const struct sk_diag_sink *sink);
/* What no single key shows: keys that must fit each other. SK_OK, or SK_EINVAL with findings. */
SK_MUST_USE int settings_check(const struct settings *s, const struct sk_diag_sink *sink);
void settings_free(struct settings *s); /* NULL is fine */

/* ADDRESS:PORT or [ADDRESS]:PORT; port 0 is any. SK_EINVAL. */
SK_MUST_USE int settings_listen(const char *text, struct sk_addr *addr, uint16_t *port);

/* One line of sekisho-manager.yaml(5); static strings but `allowed`. Keys of a list's entries are "outputs[].name". */
struct settings_key {
    const char *path, *def, *help;
    char allowed[96];
};
void settings_describe(void (*fn)(void *arg, const struct settings_key *k), void *arg);

#endif
