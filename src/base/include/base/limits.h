/*
 * Named maximums that more than one module needs. A maximum that only one module knows stands in that module's
 * header. Each has a policy for when it is reached (beside it) and a counter (base/counters.h).
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define SK_MAX_WORKERS      64        /* configuration refuses more */
#define SK_MAX_FRAME        (1 << 18) /* longest frame in bytes (libpcap's MAXIMUM_SNAPLEN); cut and counted */
#define SK_MAX_TUNNEL_DEPTH 4         /* deeper is not decoded; decoder event */
#define SK_MAX_VLAN_LAYERS  3         /* deeper is not decoded; decoder event */
#define SK_MAX_INTERFACES   16        /* further interfaces are refused, with a message */

#endif
