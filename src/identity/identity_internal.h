/*
 * What the files of this module share. rules.c: who is a trusted hop. entry.c: one address as a hop writes it. list.c
 * and forwarded.c: the elements of a header, from the right. identity.c: the walk from hop to hop.
 */
#ifndef IDENTITY_INTERNAL_H
#define IDENTITY_INTERNAL_H

#include "identity/identity.h"

/* Longest text of an address that is read: [IPv6]:port takes 53. */
#define ID_ENTRY_TEXT 64

/* A set of addresses: sorted ranges that do not overlap. */
struct id_range {
    struct sk_addr first, last;
};
struct id_ranges {
    struct id_range *v;
    uint32_t n;
};

struct identity_rules {
    struct id_ranges http, proxy, opaque;
    enum identity_source source; /* of what the header names */
    char *header;                /* NULL: none is believed */
    struct id_range storage[];   /* ranges of all, then the text of header */
};

bool id_ranges_has(const struct id_ranges *s, const struct sk_addr *a);
/* Can the hop vouch for the next address by the header, or by a PROXY header? One that is opaque besides cannot. */
bool id_is_http(const struct identity_rules *r, const struct sk_addr *a);
bool id_is_proxy(const struct identity_rules *r, const struct sk_addr *a);

struct id_entry {
    struct sk_addr addr;
    uint16_t port; /* 0: not named */
};

/* ADDRESS, ADDRESS:PORT, [ADDRESS6], [ADDRESS6]:PORT or bare IPv6, without quotes and white space around it. obfport:
 * the port may be an alias ("_x", RFC 7239 section 6.3). NONE: *e is filled; MALFORMED; HIDDEN. */
enum identity_why id_entry_parse(struct sk_span s, bool obfport, struct id_entry *e);

/* One request's walk. */
struct id_walk {
    const struct identity_rules *rules;
    struct identity *id;
    unsigned looked; /* elements, empty ones too */
};

/*
 * The last hop of id names the next address. True: that is a hop too, which vouches for the next entry of the header;
 * false: the walk is over, and id says how.
 */
bool id_name_next(const struct identity_rules *r, struct identity *id, const struct id_entry *e,
                  enum identity_source source);

/* One more element is looked at; false: that were too many, and the walk is over. */
bool id_walk_look(struct id_walk *w);
/* What the element says: an entry (why NONE), or why it names nobody. True: go on to the left. */
bool id_walk_take(struct id_walk *w, enum identity_why why, const struct id_entry *e);

/* The elements of one line, from the right. False: the walk is over. */
bool id_list_line(struct id_walk *w, struct sk_span line);
bool id_forwarded_line(struct id_walk *w, struct sk_span line);
/* A quoted string of the line has no end: readers disagree about every comma behind its quote. */
bool id_forwarded_open(struct sk_span line);

#endif
