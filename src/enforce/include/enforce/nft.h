/*
 * The kernel side: table `inet sekisho`, through nfnetlink (libnftnl, libmnl). All behind struct nft_ops, so that
 * replay and tests run on nft_fake.
 *
 *   table inet sekisho {
 *     set block4  { type ipv4_addr; flags timeout; counter; }            hosts
 *     set block6  { type ipv6_addr; flags timeout; counter; }
 *     set block4p { type ipv4_addr; flags interval,timeout; counter; }   disjoint ranges, never auto-merge
 *     set block6p { type ipv6_addr; flags interval,timeout; counter; }
 *     chain guard { type filter hook prerouting priority -450; policy accept;
 *       ip  saddr @block4  counter drop
 *       ip  saddr @block4p counter drop
 *       ip6 saddr @block6  counter drop
 *       ip6 saddr @block6p counter drop } }
 *
 * Priority -450 is NF_IP_PRI_RAW_BEFORE_DEFRAG: before connection tracking (-200), so established connections die with
 * the block, forwarded and container traffic is covered, and a blocked sender's fragments never enter the reassembly
 * queue
 * (-400). Kernels from 5.4: element counters appear from 5.7, in-place timeout updates from 6.12; without, the sets
 * work, hits stay 0 and an extension replaces the element in one transaction.
 *
 * Owner: guard; one thread. All times are wall clock ns, absolute; the kernel gets what is left of them in ms.
 */
#ifndef ENFORCE_NFT_H
#define ENFORCE_NFT_H

#include <stddef.h>
#include "base/addr.h"

#define NFT_TABLE_NAME "sekisho"
#define NFT_CHAIN_NAME "guard"
#define NFT_CHAIN_PRIO (-450)
#define NFT_TXN_ELEMS  16384 /* host elements a transaction; more are sent in several */

enum nft_set_id { NFT_HOST4, NFT_HOST6, NFT_PREFIX4, NFT_PREFIX6, NFT_SET_IDS };

/* ADD: the element must not be there (hosts: otherwise it stays as it is). DEL: must be there. PUT: hosts only; there
 * afterwards with this expiry, whatever was there before. FLUSH: empties the set; addresses are ignored. */
enum nft_op { NFT_ADD, NFT_DEL, NFT_PUT, NFT_FLUSH };

struct nft_change {
    uint8_t set; /* enum nft_set_id */
    uint8_t op;
    struct sk_addr first, last; /* equal for hosts */
    int64_t expires;
};

struct nft_elem {
    uint8_t set;
    bool there; /* what `get` found */
    struct sk_addr first, last;
    int64_t expires; /* 0: never */
    uint64_t packets, bytes;
};

typedef void nft_elem_fn(void *arg, const struct nft_elem *e);

/* KEPT: it was right. MENDED: chain and rules are new, the elements stayed. REBUILT: all is new, and empty. */
enum nft_setup { NFT_KEPT, NFT_MENDED, NFT_REBUILT };

struct nft_ops {
    /* Makes the table right, whatever is there. SK_EPERM, SK_EIO. */
    int (*setup)(void *ctx, enum nft_setup *done);
    /* Carries changes out in order. All prefix-set changes of one call are one transaction; host changes are
     * transactions of NFT_TXN_ELEMS. SK_ENOENT, SK_EEXIST: the kernel holds something else than believed: list
     * again. SK_EIO, SK_EAGAIN. A failed transaction changes nothing; earlier ones of the call stay. */
    int (*apply)(void *ctx, const struct nft_change *c, size_t n, int64_t now);
    /* All elements of all four sets, in no order; a range that an interval set holds is one element. SK_ENOENT: no
     * table. */
    int (*list)(void *ctx, int64_t now, nft_elem_fn *fn, void *arg);
    /* The same of one prefix set. */
    int (*list_ranges)(void *ctx, enum nft_set_id set, int64_t now, nft_elem_fn *fn, void *arg);
    /*
     * Single elements: set and first are given (a host, or the first address of a range); there, expires, packets and
     * bytes are filled. Costs some microseconds an element, however many the set holds, where a dump starts from the
     * beginning of the set for each few hundred: 0.3 s and 1.2 s of 100,000. Neighbours of one set share a message.
     */
    int (*get)(void *ctx, struct nft_elem *e, size_t n, int64_t now);
    /* Removes the table; none is SK_OK. */
    int (*teardown)(void *ctx);
    /* A clock that only goes forward, ns: whoever has worked for a while since he was told `now` passes on what has
     * been added to it since then. */
    int64_t (*clock)(void *ctx);
};

struct nft;

/* Opens the netlink socket; changes nothing yet. SK_EPERM, SK_EIO. */
SK_MUST_USE int nft_open(struct nft **out);
void nft_close(struct nft *n);
extern const struct nft_ops nft_kernel_ops; /* ctx is struct nft * */
/* Opens, removes the table, closes. elements: how many it held; none: 0. SK_EPERM, SK_EIO, and why. */
SK_MUST_USE int nft_clear(int64_t now, size_t *elements, char *why, size_t cap);
/* Behave as a kernel before 6.12 (tests). */
void nft_set_no_update(struct nft *n);
/* Message of the last failure, static storage of n; "" if none. */
const char *nft_error(const struct nft *n);

/*
 * What others have done to our table, as far as it has been heard: enough to look at no more than that. Full policy:
 * `lost`.
 */
#define NFT_NEWS_MAX 256

struct nft_news {
    bool shape;     /* the table, a chain, a set or a rule */
    bool ranges[2]; /* elements of a prefix set, [0] IPv4, [1] IPv6 */
    bool lost;      /* notifications were lost, or there were more hosts: anything may have happened */
    size_t nhosts;
    struct nft_elem host[NFT_NEWS_MAX]; /* set and first: added or removed, which is for `get` to say */
};

/*
 * Watches what others do to our table. Changes made through n do not wake it. Poll nft_monitor_fd for reading, then
 * nft_monitor_read, which empties *news and fills it: true when there is any. Never blocks.
 */
struct nft_monitor;
SK_MUST_USE int nft_monitor_open(const struct nft *n, struct nft_monitor **out);
void nft_monitor_close(struct nft_monitor *m);
int nft_monitor_fd(const struct nft_monitor *m);
bool nft_monitor_read(struct nft_monitor *m, struct nft_news *news);

#endif
