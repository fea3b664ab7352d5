/* Makes attacker-controlled bytes safe to show: printable ASCII stays, the rest becomes \xNN (and \\ for \). */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include "base/span.h"

/* Writes at most cap-1 characters and a NUL; what does not fit is cut and ends in "...". Returns buf. cap >= 8. */
const char *sk_escape(char *buf, size_t cap, struct sk_span s);

#endif
