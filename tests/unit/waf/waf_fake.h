/*
 * AWS and the store as the writer sees them, in virtual time: sets with lock tokens and limits, calls that fail before
 * or after their effect, throttling, latency, writes that take effect later, reads that show what was; a rival who
 * writes too; a process that dies in the middle. What must never happen fails the test where it happens.
 */
#ifndef WAF_FAKE_H
#define WAF_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/clock.h"
#include "waf/waf.h"

#define S         SK_NS_PER_S
#define FAKE_SETS 64
#define START     (1800000000 * S)

struct list {
    struct sk_prefix *p;
    size_t n, cap;
};

struct fake_set {
    bool exists, v6;
    enum wafv2_scope scope;
    char region[32], name[WAFV2_NAME_MAX + 1];
    unsigned id, token;
    struct list addr, foreign;
    struct list before; /* what a late reader sees */
    unsigned token_before;
    int64_t changed_at;
    unsigned updates;
};

struct fake_owned {
    char key[256];
    struct list l;
};

struct fake_entry {
    struct waf_entry e;
    int64_t end; /* expires, or when it was lifted */
    bool lifted;
    bool seen;      /* has been in AWS */
    int64_t unsure; /* others have removed it: not before the next look */
};

struct fake {
    int64_t now;
    uint64_t rng;
    struct fake_set set[FAKE_SETS];
    unsigned nsets, next_id, next_token;
    size_t limit;
    /* per cent */
    unsigned before, after, throttle, late, race, old_reads, db;
    unsigned hang, lost_reads; /* no answer, after a second; the answer of a read is lost */
    unsigned fail_run, run;    /* at most so many failures in a row */
    int64_t latency;           /* at most */
    struct {
        bool on;
        unsigned set, token;
        struct list addr;
        int64_t at;
    } flight[8];
    void (*rival)(struct fake *f, struct fake_set *s);
    const struct sk_prefix *refuse; /* AWS takes this one not */
    int denied;                     /* so many calls are answered with AccessDenied */
    /* the store */
    struct fake_owned owned[FAKE_SETS * 2];
    unsigned nowned;
    struct fake_entry *entry;
    size_t nentries, entry_cap;
    uint64_t changed;
    bool leading, entries_fail;
    int64_t writing, failing; /* the last ones told */
    /* the process */
    int die_in; /* calls; -1 never */
    bool dead;
    /* seen */
    int64_t last_write;
    unsigned writes, reads, creates;
    unsigned notes;
    char last_note[1024];
    char notes_text[65536];
    char calls[32][256]; /* the last ones */
    unsigned ncalls;
    const struct sk_prefix *never;
    size_t nnever;
};

void list_add(struct list *l, const struct sk_prefix *p);
bool list_has(const struct list *l, const struct sk_prefix *p); /* sorted lists */
void list_del(struct list *l, const struct sk_prefix *p);
void list_free(struct list *l);

void fake_init(struct fake *f, uint64_t seed);
void fake_free(struct fake *f);
uint32_t fake_rnd(struct fake *f, uint32_t below);
struct fake_set *fake_make_set(struct fake *f, enum wafv2_scope scope, const char *region, const char *name, bool v6);
struct fake_set *fake_find(struct fake *f, const char *name);
void fake_foreign_add(struct fake *f, struct fake_set *s, const struct sk_prefix *p);
void fake_foreign_del(struct fake *f, struct fake_set *s, const struct sk_prefix *p);
void fake_tamper_del(struct fake *f, struct fake_set *s, const struct sk_prefix *p);
bool fake_owns(struct fake *f, const struct fake_set *s, const struct sk_prefix *p);
size_t fake_owned_count(struct fake *f, const struct fake_set *s);
struct fake_entry *fake_block(struct fake *f, const char *text, int64_t seconds, int64_t score);
struct fake_entry *fake_block_p(struct fake *f, const struct sk_prefix *p, int64_t seconds, int64_t score);
void fake_lift(struct fake *f, struct fake_entry *x);
struct sk_prefix fake_prefix(const char *text);
extern const struct wafv2_ops fake_ops;
struct waf_world fake_world(struct fake *f);
/* Steps until `until` or, when told, the writer has converged. */
void fake_run(struct fake *f, struct waf *w, int64_t until, bool converge);
/* Is it in some set of that family, itself or in a wider one? */
bool fake_blocked(struct fake *f, const struct sk_prefix *p);
size_t fake_total(struct fake *f);
void fake_print_calls(struct fake *f);

#endif
