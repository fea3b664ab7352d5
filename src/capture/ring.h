/* Between the two halves of AF_PACKET capture. */
#ifndef CAPTURE_RING_H
#define CAPTURE_RING_H

#include "capture/capture.h"

/* SK_OK, or SK_EINVAL with errbuf filled. */
int ring_conf_check(const struct capture_ring_conf *conf, char *errbuf);

#endif
