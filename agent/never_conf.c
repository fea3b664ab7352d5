#include "never_conf.h"

#include <stdlib.h>

static size_t put(struct never_entry *e, size_t n, enum never_kind kind, const struct conf_prefixes *p,
                  const char *text)
{
    for (uint32_t i = 0; i < p->n; i++)
        never_entry_set(&e[n++], kind, &p->v[i], text);
    return n;
}

int never_from_conf(struct never_list *l, const struct conf *c, bool *changed)
{
    const struct conf_proxies *x = &c->proxies;
    size_t most = (size_t)c->never.n + x->http.n + x->proxy_protocol.n + x->opaque.n, n = 0;
    struct never_entry *e = calloc(most + 1, sizeof(*e));
    if (e == NULL)
        return SK_ENOMEM;
    n = put(e, n, NEVER_STATIC, &c->never, "configuration");
    n = put(e, n, NEVER_PROXY, &x->http, "proxies.http");
    n = put(e, n, NEVER_PROXY, &x->proxy_protocol, "proxies.proxy-protocol");
    n = put(e, n, NEVER_PROXY, &x->opaque, "proxies.opaque");
    int rc = never_replace_static(l, e, n, changed);
    free(e);
    return rc;
}
