/* How far two words are apart: for "did you mean". */
#ifndef BASE_DISTANCE_H
#define BASE_DISTANCE_H

#define SK_DISTANCE_MAX 128 /* longest word, with NUL; a longer one is far from everything */

/* Edits (insert, delete, replace, swap of neighbours) from a to b. */
unsigned sk_distance(const char *a, const char *b);

#endif
