#include "findings.h"

static void take(void *arg, const struct sk_diag *d)
{
    struct findings *f = arg;
    bool quiet = false;
    switch (d->level) {
    case SK_DIAG_ERROR: f->errors++; break;
    case SK_DIAG_UNSUPPORTED:
        f->unsupported++;
        quiet = f->quiet_unsupported;
        break;
    case SK_DIAG_WARN:
        f->warnings++;
        quiet = f->quiet_notes;
        break;
    case SK_DIAG_NOTE:
        f->notes++;
        quiet = f->quiet_notes;
        break;
    }
    if (!quiet)
        sk_diag_stderr.fn(sk_diag_stderr.arg, d);
}

struct sk_diag_sink findings_sink(struct findings *f)
{
    return (struct sk_diag_sink){.fn = take, .arg = f};
}
