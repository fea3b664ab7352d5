#include "decide/active.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_BITS 12
#define RANKS      (64 - INDEX_BITS + 2) /* values of a register: 0 (empty), 1, ... 53 */
#define CHANGING   INT64_MIN             /* a part's number while its registers are cleared */

_Static_assert(ACTIVE_REGISTERS == 1 << INDEX_BITS, "a register for each value of the index");
_Static_assert((ACTIVE_PARTS & (ACTIVE_PARTS - 1)) == 0, "parts are found by the low bits of their number");

/* All atomic, relaxed. */
struct part {
    int64_t number; /* since the epoch */
    uint8_t reg[ACTIVE_REGISTERS];
};

struct active_clients {
    struct sk_hash_key key;
    int64_t part_length;
    struct part part[ACTIVE_PARTS]; /* part n lies in n % ACTIVE_PARTS */
};

int active_create(int64_t window, const struct sk_hash_key *key, struct active_clients **out)
{
    struct active_clients *a = calloc(1, sizeof *a);
    if (!a)
        return SK_ENOMEM;
    a->part_length = window >= ACTIVE_PARTS ? window / ACTIVE_PARTS : 1;
    if (key)
        a->key = *key;
    else
        sk_hash_key_random(&a->key);
    *out = a;
    return SK_OK;
}

void active_free(struct active_clients *a)
{
    free(a);
}

/* The part under way, emptied if it still holds what was counted a window ago (or in a time to come, if the clock was
 * set back). NULL while another worker does that. */
static struct part *part_at(struct active_clients *a, int64_t now)
{
    int64_t number = now / a->part_length;
    struct part *p = &a->part[(uint64_t)number % ACTIVE_PARTS];
    int64_t seen = __atomic_load_n(&p->number, __ATOMIC_ACQUIRE);
    if (seen == number)
        return p;
    if (seen == CHANGING ||
        !__atomic_compare_exchange_n(&p->number, &seen, CHANGING, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return NULL;
    for (unsigned i = 0; i < ACTIVE_REGISTERS; i++)
        __atomic_store_n(&p->reg[i], 0, __ATOMIC_RELAXED);
    __atomic_store_n(&p->number, number, __ATOMIC_RELEASE);
    return p;
}

void active_add(struct active_clients *a, const struct sk_addr *client, int64_t now)
{
    uint64_t h = sk_siphash_words(&a->key, client->q, 2);
    struct part *p = part_at(a, now);
    if (!p)
        return;
    uint8_t *reg = &p->reg[h >> (64 - INDEX_BITS)];
    /* Position of the first 1 in what is left; the bit that is set ends the search. */
    uint8_t rank = (uint8_t)(__builtin_clzll(h << INDEX_BITS | 1ULL << (INDEX_BITS - 1)) + 1);
    if (__atomic_load_n(reg, __ATOMIC_RELAXED) < rank)
        __atomic_store_n(reg, rank, __ATOMIC_RELAXED);
}

/* Workers' packets may be a little ahead of the clock of whoever asks: one part of a time to come counts. */
static bool within(int64_t number, int64_t now_part)
{
    return number != CHANGING && number > now_part - ACTIVE_PARTS && number <= now_part + 1;
}

/* Of the registers that are still empty (a share of x): Ertl's sigma. */
static double sigma(double x)
{
    double y = 1, z = x, before;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (z != before);
    return z;
}

/* have[k]: registers of value k. */
static double estimate(const unsigned have[RANKS])
{
    const double m = ACTIVE_REGISTERS;
    if (have[0] == ACTIVE_REGISTERS)
        return 0;
    double z = 0;
    for (unsigned k = RANKS - 1; k > 0; k--)
        z = (z + have[k]) / 2;
    z += m * sigma(have[0] / m);
    return m * m / (2 * M_LN2 * z);
}

uint64_t active_count(const struct active_clients *a, int64_t now)
{
    uint8_t reg[ACTIVE_REGISTERS] = {0};
    for (unsigned k = 0; k < ACTIVE_PARTS; k++) {
        const struct part *p = &a->part[k];
        if (!within(__atomic_load_n(&p->number, __ATOMIC_ACQUIRE), now / a->part_length))
            continue;
        for (unsigned i = 0; i < ACTIVE_REGISTERS; i++) {
            uint8_t r = __atomic_load_n(&p->reg[i], __ATOMIC_RELAXED);
            reg[i] = r > reg[i] ? r : reg[i];
        }
    }
    unsigned have[RANKS] = {0};
    for (unsigned i = 0; i < ACTIVE_REGISTERS; i++)
        have[reg[i]]++;
    return (uint64_t)llround(estimate(have));
}
