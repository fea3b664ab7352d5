/*
 * Settings of this one instance, over those of the configuration file: `instance.conf` in that file's folder, written
 * by `sekisho configure` from the instance's tags, the environment, or its arguments.
 *
 *   # tag sekisho:decide.dry-run          where the next one comes from
 *   decide.dry-run=yes                    KEY=VALUE, as of --set
 *
 * What stands there comes before the fleet's policy and before --set. Errors name file, line and column.
 */
#ifndef AGENT_INSTANCE_CONF_H
#define AGENT_INSTANCE_CONF_H

#include "conf/conf.h"

#define INSTANCE_CONF_MAX  128   /* settings */
#define INSTANCE_CONF_SIZE 65536 /* bytes */
#define INSTANCE_CONF_PATH 4400

struct instance_setting {
    char *text;   /* KEY=VALUE */
    char *origin; /* "tag sekisho:KEY"; "" when the file does not say */
    unsigned line;
};

struct instance_conf {
    char path[INSTANCE_CONF_PATH];
    struct instance_setting v[INSTANCE_CONF_MAX];
    unsigned n;
};

/* Where it is: beside conf_path (NULL: CLI_CONF_PATH). */
void instance_conf_path(const char *conf_path, char buf[INSTANCE_CONF_PATH]);
/* No file is SK_OK, and nothing in it. SK_EINVAL, SK_EIO after a finding; *out is empty then. */
SK_MUST_USE int instance_conf_read(const char *conf_path, const struct sk_diag_sink *sink, struct instance_conf *out);
SK_MUST_USE int instance_conf_apply(const struct instance_conf *s, struct conf *c, const struct sk_diag_sink *sink);
/* text, origin: copied. SK_EFULL, SK_ENOMEM. One of the same key is replaced. */
SK_MUST_USE int instance_conf_add(struct instance_conf *s, const char *text, const char *origin, unsigned line);
void instance_conf_clear(struct instance_conf *s);

#endif
