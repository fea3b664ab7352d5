/* Shared by the nft_*.c files only: the socket, one growing transaction buffer, and how replies are read. */
#ifndef ENFORCE_NFT_PRIV_H
#define ENFORCE_NFT_PRIV_H

#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include "enforce/nft.h"

#define NFT_ERROR_MAX 160
#define NFT_MSG_ROOM  65536      /* no message of ours is longer */
#define NFT_TXN_BYTES (32 << 20) /* no transaction is: 65,536 ranges need about 8 MiB */

struct nft {
    struct mnl_socket *sk;
    uint32_t portid, seq;
    bool no_update, no_counter;
    char error[NFT_ERROR_MAX];
    /* the transaction under construction */
    char *buf;
    size_t len, cap;
    uint32_t last_seq;
    bool txn_full;
};

struct nft_set_def {
    const char *name;
    uint32_t flags, key_type, key_len;
    uint8_t nfproto;
};
extern const struct nft_set_def nft_sets[NFT_SET_IDS];

/* errno of netlink to the one vocabulary, with a message in n->error. */
int nft_fail(struct nft *n, const char *what, int err);

void nft_txn_begin(struct nft *n);
/* Next message of the transaction, NULL when it cannot grow (txn_full); finish it with nft_txn_done. type: NFT_MSG_*.
 */
struct nlmsghdr *nft_txn_msg(struct nft *n, uint16_t type, uint16_t flags);
void nft_txn_done(struct nft *n, const struct nlmsghdr *nlh);
/* Sends, reads the verdict. All of it holds, or nothing. */
int nft_txn_commit(struct nft *n, const char *what);

/* A request outside transactions; cb for each answer. A dump that the kernel says was interrupted is repeated, so cb
 * must bear seeing things again: reset is called before each try (may be NULL). */
int nft_query(struct nft *n, struct nlmsghdr *req, mnl_cb_t cb, void (*reset)(void *), void *arg, const char *what);
struct nlmsghdr *nft_query_msg(struct nft *n, char *buf, uint16_t type, uint16_t flags);
/* One request with several answers, which the kernel has queued when it has taken the request: cb for each. *err: errno
 * of the answer that ended it, 0 when all came. SK_EIO: there is no telling. */
int nft_exchange(struct nft *n, struct nlmsghdr *req, mnl_cb_t cb, void *arg, int *err);

int nft_shape_setup(void *ctx, enum nft_setup *done);
int nft_shape_teardown(void *ctx);
int nft_elems_apply(void *ctx, const struct nft_change *c, size_t count, int64_t now);
int nft_elems_list(void *ctx, int64_t now, nft_elem_fn *fn, void *arg);
int nft_elems_list_ranges(void *ctx, enum nft_set_id set, int64_t now, nft_elem_fn *fn, void *arg);
int nft_elems_get(void *ctx, struct nft_elem *e, size_t n, int64_t now);

#endif
