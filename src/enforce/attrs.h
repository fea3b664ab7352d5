/* libmnl's mnl_attr_for_each does not compile under -Wconversion. Private to enforce/. */
#ifndef ENFORCE_ATTRS_H
#define ENFORCE_ATTRS_H

#include <libmnl/libmnl.h>

#define attrs_for_each(a, h, off)                                                                                      \
    for ((a) = (const struct nlattr *)mnl_nlmsg_get_payload_offset((h), (off));                                        \
         mnl_attr_ok((a), (int)((const char *)mnl_nlmsg_get_payload_tail(h) - (const char *)(a)));                     \
         (a) = mnl_attr_next(a))

#endif
