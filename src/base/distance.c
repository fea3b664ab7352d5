#include "base/distance.h"

#include <string.h>

unsigned sk_distance(const char *a, const char *b)
{
    unsigned row[3][SK_DISTANCE_MAX];
    unsigned la = (unsigned)strlen(a), lb = (unsigned)strlen(b);
    unsigned *prev2 = row[0], *prev = row[1], *cur = row[2];
    if (la >= SK_DISTANCE_MAX || lb >= SK_DISTANCE_MAX)
        return la > lb ? la : lb;
    for (unsigned j = 0; j <= lb; j++)
        prev[j] = j;
    for (unsigned i = 1; i <= la; i++) {
        cur[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            unsigned best = prev[j - 1] + (a[i - 1] != b[j - 1]);
            if (prev[j] + 1 < best)
                best = prev[j] + 1;
            if (cur[j - 1] + 1 < best)
                best = cur[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && prev2[j - 2] + 1 < best)
                best = prev2[j - 2] + 1;
            cur[j] = best;
        }
        unsigned *old = prev2;
        prev2 = prev;
        prev = cur;
        cur = old;
    }
    return prev[lb];
}
