/*
 * Moves the journal's write-ahead log into its file, in a thread of its own: that waits for the disk, half a second for
 * a long log and seconds on a disk that has other work, and blocks must not. The thread has its own connection and
 * shares nothing with anybody else. Private to enforce/.
 */
#ifndef ENFORCE_CHECKPOINT_H
#define ENFORCE_CHECKPOINT_H

struct checkpoint;

/* NULL: no memory, or no thread. */
struct checkpoint *checkpoint_start(const char *path);
/* Never blocks. While one runs, one more is remembered. */
void checkpoint_ask(struct checkpoint *c);
/* Waits for the one that runs. NULL is fine. */
void checkpoint_stop(struct checkpoint *c);

#endif
