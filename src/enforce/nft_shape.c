/* The table's shape: how it is made, and whether what the kernel holds is that. */
#include "nft_priv.h"

#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <stdlib.h>

/* Data types of nft(8)'s own numbering, so that `nft list` shows addresses. */
#define TYPE_IPADDR  7
#define TYPE_IP6ADDR 8
#define SHAPE_FLAGS                                                                                                    \
    (NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | NFT_SET_INTERVAL | NFT_SET_MAP | NFT_SET_TIMEOUT | NFT_SET_EVAL)
#define RULE_TEXT  256
#define RULE_EXPRS 8

const struct nft_set_def nft_sets[NFT_SET_IDS] = {
    [NFT_HOST4] = {"block4", NFT_SET_TIMEOUT, TYPE_IPADDR, 4, NFPROTO_IPV4},
    [NFT_HOST6] = {"block6", NFT_SET_TIMEOUT, TYPE_IP6ADDR, 16, NFPROTO_IPV6},
    [NFT_PREFIX4] = {"block4p", NFT_SET_TIMEOUT | NFT_SET_INTERVAL, TYPE_IPADDR, 4, NFPROTO_IPV4},
    [NFT_PREFIX6] = {"block6p", NFT_SET_TIMEOUT | NFT_SET_INTERVAL, TYPE_IP6ADDR, 16, NFPROTO_IPV6},
};

/* The order of the rules: hosts are looked up in constant time, so first. */
static const enum nft_set_id rule_order[NFT_SET_IDS] = {NFT_HOST4, NFT_PREFIX4, NFT_HOST6, NFT_PREFIX6};

/* ---- building ---- */

static void add_table(struct nft *n, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = nft_txn_msg(n, type, flags);
    struct nftnl_table *t = nftnl_table_alloc();
    if (h && t) {
        nftnl_table_set_str(t, NFTNL_TABLE_NAME, NFT_TABLE_NAME);
        nftnl_table_nlmsg_build_payload(h, t);
        nft_txn_done(n, h);
    }
    if (!t)
        n->txn_full = true;
    nftnl_table_free(t);
}

static struct nftnl_expr *expr_new(struct nft *n, const char *name)
{
    struct nftnl_expr *e = nftnl_expr_alloc(name);
    if (!e)
        n->txn_full = true;
    return e;
}

static void add_set(struct nft *n, enum nft_set_id id)
{
    const struct nft_set_def *d = &nft_sets[id];
    struct nlmsghdr *h = nft_txn_msg(n, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
    struct nftnl_set *s = nftnl_set_alloc();
    struct nftnl_expr *e = n->no_counter ? NULL : expr_new(n, "counter");
    if (h && s) {
        nftnl_set_set_str(s, NFTNL_SET_TABLE, NFT_TABLE_NAME);
        nftnl_set_set_str(s, NFTNL_SET_NAME, d->name);
        nftnl_set_set_u32(s, NFTNL_SET_ID, (uint32_t)id + 1);
        nftnl_set_set_u32(s, NFTNL_SET_FAMILY, NFPROTO_INET);
        nftnl_set_set_u32(s, NFTNL_SET_FLAGS, d->flags);
        nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, d->key_type);
        nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, d->key_len);
        if (e) {
            nftnl_set_add_expr(s, e);
            e = NULL;
        }
        nftnl_set_nlmsg_build_payload(h, s);
        nft_txn_done(n, h);
    }
    if (!s)
        n->txn_full = true;
    if (e)
        nftnl_expr_free(e);
    nftnl_set_free(s);
}

static void del_chain(struct nft *n)
{
    static const uint16_t types[] = {NFT_MSG_DELRULE, NFT_MSG_DELCHAIN};
    for (int i = 0; i < 2; i++) {
        struct nlmsghdr *h = nft_txn_msg(n, types[i], 0);
        if (!h)
            return;
        mnl_attr_put_strz(h, NFTA_CHAIN_TABLE, NFT_TABLE_NAME);
        mnl_attr_put_strz(h, i == 0 ? NFTA_RULE_CHAIN : NFTA_CHAIN_NAME, NFT_CHAIN_NAME);
        nft_txn_done(n, h);
    }
}

static void add_chain(struct nft *n)
{
    struct nlmsghdr *h = nft_txn_msg(n, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    struct nftnl_chain *c = nftnl_chain_alloc();
    if (h && c) {
        nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, NFT_TABLE_NAME);
        nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, NFT_CHAIN_NAME);
        nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
        nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, NF_INET_PRE_ROUTING);
        nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, NFT_CHAIN_PRIO);
        nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
        nftnl_chain_nlmsg_build_payload(h, c);
        nft_txn_done(n, h);
    }
    if (!c)
        n->txn_full = true;
    nftnl_chain_free(c);
}

/* meta nfproto == family, payload of the source address, lookup, counter, drop */
static void rule_exprs(struct nft *n, struct nftnl_rule *r, enum nft_set_id id)
{
    const struct nft_set_def *d = &nft_sets[id];
    struct nftnl_expr *e[6] = {expr_new(n, "meta"),   expr_new(n, "cmp"),     expr_new(n, "payload"),
                               expr_new(n, "lookup"), expr_new(n, "counter"), expr_new(n, "immediate")};
    for (int i = 0; i < 6; i++)
        if (e[i])
            nftnl_rule_add_expr(r, e[i]);
    if (n->txn_full)
        return;
    nftnl_expr_set_u32(e[0], NFTNL_EXPR_META_KEY, NFT_META_NFPROTO);
    nftnl_expr_set_u32(e[0], NFTNL_EXPR_META_DREG, NFT_REG_1);
    nftnl_expr_set_u32(e[1], NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e[1], NFTNL_EXPR_CMP_OP, NFT_CMP_EQ);
    nftnl_expr_set(e[1], NFTNL_EXPR_CMP_DATA, &d->nfproto, sizeof d->nfproto);
    nftnl_expr_set_u32(e[2], NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
    nftnl_expr_set_u32(e[2], NFTNL_EXPR_PAYLOAD_OFFSET, d->key_len == 4 ? 12 : 8); /* RFC 791, RFC 8200 */
    nftnl_expr_set_u32(e[2], NFTNL_EXPR_PAYLOAD_LEN, d->key_len);
    nftnl_expr_set_u32(e[2], NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    nftnl_expr_set_u32(e[3], NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
    nftnl_expr_set_str(e[3], NFTNL_EXPR_LOOKUP_SET, d->name);
    nftnl_expr_set_u32(e[3], NFTNL_EXPR_LOOKUP_SET_ID, (uint32_t)id + 1);
    nftnl_expr_set_u32(e[5], NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(e[5], NFTNL_EXPR_IMM_VERDICT, NF_DROP);
}

static struct nftnl_rule *rule_new(struct nft *n, enum nft_set_id id)
{
    struct nftnl_rule *r = nftnl_rule_alloc();
    if (!r) {
        n->txn_full = true;
        return NULL;
    }
    nftnl_rule_set_str(r, NFTNL_RULE_TABLE, NFT_TABLE_NAME);
    nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, NFT_CHAIN_NAME);
    nftnl_rule_set_u32(r, NFTNL_RULE_FAMILY, NFPROTO_INET);
    rule_exprs(n, r, id);
    return r;
}

static void add_rule(struct nft *n, enum nft_set_id id)
{
    struct nlmsghdr *h = nft_txn_msg(n, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    struct nftnl_rule *r = rule_new(n, id);
    if (h && r && !n->txn_full) {
        nftnl_rule_nlmsg_build_payload(h, r);
        nft_txn_done(n, h);
    }
    if (r)
        nftnl_rule_free(r);
}

/* Whatever is there goes and the right thing comes in one transaction: no moment with half a table. */
static int rebuild(struct nft *n)
{
    nft_txn_begin(n);
    add_table(n, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    add_table(n, NFT_MSG_DELTABLE, 0);
    add_table(n, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    for (int i = 0; i < NFT_SET_IDS; i++)
        add_set(n, (enum nft_set_id)i);
    add_chain(n);
    for (int i = 0; i < NFT_SET_IDS; i++)
        add_rule(n, rule_order[i]);
    return nft_txn_commit(n, "cannot create table inet " NFT_TABLE_NAME);
}

/* Chain and rules anew; the sets, which may be large, stay as they are. */
static int mend(struct nft *n, bool chain_exists)
{
    nft_txn_begin(n);
    if (chain_exists)
        del_chain(n);
    add_chain(n);
    for (int i = 0; i < NFT_SET_IDS; i++)
        add_rule(n, rule_order[i]);
    return nft_txn_commit(n, "cannot replace chain " NFT_CHAIN_NAME);
}

/* ---- looking ---- */

struct shape {
    struct nft *n;
    bool sets[NFT_SET_IDS], chain, wrong;
    unsigned rules;
};

static void shape_reset(void *arg)
{
    struct shape *s = arg;
    *s = (struct shape){.n = s->n};
}

static int see_set(const struct nlmsghdr *h, void *arg)
{
    struct shape *sh = arg;
    struct nftnl_set *s = nftnl_set_alloc();
    if (!s || nftnl_set_nlmsg_parse(h, s) < 0) {
        sh->wrong = true;
        goto out;
    }
    const char *name = nftnl_set_get_str(s, NFTNL_SET_NAME), *table = nftnl_set_get_str(s, NFTNL_SET_TABLE);
    if (!name || !table || strcmp(table, NFT_TABLE_NAME) != 0)
        goto out;
    for (int i = 0; i < NFT_SET_IDS; i++) {
        const struct nft_set_def *d = &nft_sets[i];
        if (strcmp(name, d->name) != 0)
            continue;
        sh->sets[i] = true;
        if ((nftnl_set_get_u32(s, NFTNL_SET_FLAGS) & SHAPE_FLAGS) != d->flags ||
            nftnl_set_get_u32(s, NFTNL_SET_KEY_LEN) != d->key_len ||
            nftnl_set_get_u32(s, NFTNL_SET_KEY_TYPE) != d->key_type)
            sh->wrong = true;
    }
out:
    if (s)
        nftnl_set_free(s);
    return MNL_CB_OK;
}

static int see_chain(const struct nlmsghdr *h, void *arg)
{
    struct shape *sh = arg;
    struct nftnl_chain *c = nftnl_chain_alloc();
    if (!c || nftnl_chain_nlmsg_parse(h, c) < 0) {
        sh->wrong = true;
    } else if (nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM)) {
        sh->chain = nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) == NF_INET_PRE_ROUTING &&
                    nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO) == NFT_CHAIN_PRIO &&
                    nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_ACCEPT;
    }
    if (c)
        nftnl_chain_free(c);
    return MNL_CB_OK;
}

struct rule_text {
    char line[RULE_EXPRS][RULE_TEXT];
    unsigned n;
};

/* "... 0x0" at the end: lookup flags, which the kernel always reports and nobody sets. */
static void strip_tail(char *line)
{
    size_t n = strlen(line);
    while (n > 0 && line[n - 1] == ' ')
        line[--n] = '\0';
    if (n > 4 && strcmp(line + n - 4, " 0x0") == 0)
        line[n - 4] = '\0';
}

/* Expressions as text; the counter's numbers do not belong to the shape. */
static int text_expr(struct nftnl_expr *e, void *arg)
{
    struct rule_text *t = arg;
    if (t->n == RULE_EXPRS)
        return -1;
    const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
    char *line = t->line[t->n++];
    if (name && strcmp(name, "counter") == 0)
        strcpy(line, "counter");
    else
        nftnl_expr_snprintf(line, RULE_TEXT, e, NFTNL_OUTPUT_DEFAULT, 0);
    strip_tail(line);
    return 0;
}

static bool rule_same(struct nft *n, const struct nftnl_rule *have, enum nft_set_id id)
{
    struct rule_text a = {.n = 0}, b = {.n = 0};
    struct nftnl_rule *want = rule_new(n, id);
    bool same = want && nftnl_expr_foreach((struct nftnl_rule *)have, text_expr, &a) == 0 &&
                nftnl_expr_foreach(want, text_expr, &b) == 0 && a.n == b.n;
    for (unsigned i = 0; same && i < a.n; i++)
        same = strcmp(a.line[i], b.line[i]) == 0;
    if (want)
        nftnl_rule_free(want);
    return same;
}

static int see_rule(const struct nlmsghdr *h, void *arg)
{
    struct shape *sh = arg;
    struct nftnl_rule *r = nftnl_rule_alloc();
    if (!r || nftnl_rule_nlmsg_parse(h, r) < 0) {
        sh->wrong = true;
        goto out;
    }
    const char *table = nftnl_rule_get_str(r, NFTNL_RULE_TABLE), *chain = nftnl_rule_get_str(r, NFTNL_RULE_CHAIN);
    if (!table || !chain || strcmp(table, NFT_TABLE_NAME) != 0 || strcmp(chain, NFT_CHAIN_NAME) != 0)
        goto out;
    if (sh->rules >= NFT_SET_IDS || !rule_same(sh->n, r, rule_order[sh->rules]))
        sh->wrong = true;
    sh->rules++;
out:
    if (r)
        nftnl_rule_free(r);
    return MNL_CB_OK;
}

static int table_seen(const struct nlmsghdr *h, void *arg)
{
    struct shape *sh = arg;
    struct nftnl_table *t = nftnl_table_alloc();
    /* A dormant table (nft's flag) hooks nothing. */
    if (!t || nftnl_table_nlmsg_parse(h, t) < 0 || (nftnl_table_get_u32(t, NFTNL_TABLE_FLAGS) & NFT_TABLE_F_DORMANT))
        sh->wrong = true;
    if (t)
        nftnl_table_free(t);
    return MNL_CB_OK;
}

static int query(struct nft *n, uint16_t type, uint16_t flags, uint16_t attr2, mnl_cb_t cb, struct shape *sh,
                 const char *what)
{
    _Alignas(8) char buf[512];
    struct nlmsghdr *h = nft_query_msg(n, buf, type, flags);
    mnl_attr_put_strz(h, NFTA_TABLE_NAME, NFT_TABLE_NAME); /* 1 in all of these messages */
    if (attr2)
        mnl_attr_put_strz(h, attr2, NFT_CHAIN_NAME);
    shape_reset(sh);
    return nft_query(n, h, cb, shape_reset, sh, what);
}

/* SK_OK: right. SK_ENOENT: missing or wrong. Else the kernel could not be asked. */
static int look_at_sets(struct nft *n, struct shape *sh)
{
    int rc = query(n, NFT_MSG_GETTABLE, NLM_F_ACK, 0, table_seen, sh, "cannot read the table");
    if (rc != SK_OK || sh->wrong)
        return rc == SK_OK ? SK_ENOENT : rc;
    rc = query(n, NFT_MSG_GETSET, NLM_F_DUMP, 0, see_set, sh, "cannot read the sets");
    for (int i = 0; i < NFT_SET_IDS; i++)
        if (rc == SK_OK && (!sh->sets[i] || sh->wrong))
            rc = SK_ENOENT;
    return rc;
}

/* The same of chain and rules. */
static int look_at_chain(struct nft *n, struct shape *sh, bool *exists)
{
    int rc = query(n, NFT_MSG_GETCHAIN, NLM_F_ACK, NFTA_CHAIN_NAME, see_chain, sh, "cannot read the chain");
    *exists = rc == SK_OK;
    if (rc != SK_OK || sh->wrong || !sh->chain)
        return rc == SK_OK ? SK_ENOENT : rc;
    rc = query(n, NFT_MSG_GETRULE, NLM_F_DUMP, NFTA_RULE_CHAIN, see_rule, sh, "cannot read the rules");
    return rc == SK_OK && (sh->wrong || sh->rules != NFT_SET_IDS) ? SK_ENOENT : rc;
}

static int rebuild_as_can_be(struct nft *n)
{
    int rc = rebuild(n);
    if (rc == SK_EIO && !n->no_counter && (errno == EOPNOTSUPP || errno == EINVAL)) {
        n->no_counter = true;
        rc = rebuild(n);
    }
    return rc;
}

int nft_shape_setup(void *ctx, enum nft_setup *done)
{
    struct nft *n = ctx;
    struct shape sh = {.n = n};
    bool chain = false;
    *done = NFT_KEPT;
    n->txn_full = false;
    int rc = look_at_sets(n, &sh);
    if (rc == SK_OK) {
        rc = look_at_chain(n, &sh, &chain);
        if (rc != SK_ENOENT)
            return rc;
        *done = NFT_MENDED;
        if (mend(n, chain) == SK_OK)
            return SK_OK;
        rc = SK_ENOENT; /* others jump to what stands in its place, for instance */
    }
    if (rc != SK_ENOENT)
        return rc;
    *done = NFT_REBUILT;
    return rebuild_as_can_be(n);
}

int nft_shape_teardown(void *ctx)
{
    struct nft *n = ctx;
    nft_txn_begin(n);
    add_table(n, NFT_MSG_DELTABLE, 0);
    int rc = nft_txn_commit(n, "cannot remove table inet " NFT_TABLE_NAME);
    return rc == SK_ENOENT ? SK_OK : rc;
}
