/* A sink that keeps the findings as "file:line:col: text" lines. */
#ifndef TEST_CONF_SUPPORT_H
#define TEST_CONF_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include "conf/conf.h"

struct findings {
    char text[8192];
    unsigned n;
};

static inline void findings_add(void *arg, const struct sk_diag *d)
{
    struct findings *f = (struct findings *)arg;
    size_t used = strlen(f->text);
    snprintf(f->text + used, sizeof(f->text) - used, "%s%s:%u:%u: %s", f->n++ ? "\n" : "", d->file ? d->file : "-",
             d->line, d->col, d->text);
}

/* The text loads without a finding. */
static inline struct conf *load_good(const char *text)
{
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    struct conf *c;
    int err = conf_load("t.yaml", text, strlen(text), &sink, &c);
    assert_string_equal(f.text, "");
    assert_int_equal(err, SK_OK);
    return c;
}

static inline struct conf *defaults(void)
{
    struct conf *c;
    assert_int_equal(conf_default(&c), SK_OK);
    return c;
}

/* The text is refused with exactly these findings. */
static inline void load_bad(const char *text, const char *want)
{
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    struct conf *c = (struct conf *)&f;
    assert_int_equal(conf_load("t.yaml", text, strlen(text), &sink, &c), SK_EINVAL);
    assert_null(c);
    assert_string_equal(f.text, want);
}

static inline void set_good(struct conf *c, const char *key, const char *value)
{
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    int err = conf_set(c, key, value, &sink);
    assert_string_equal(f.text, "");
    assert_int_equal(err, SK_OK);
}

static inline void set_bad(struct conf *c, const char *key, const char *value, const char *want)
{
    struct findings f = {.n = 0};
    struct sk_diag_sink sink = {.fn = findings_add, .arg = &f};
    assert_int_equal(conf_set(c, key, value, &sink), SK_EINVAL);
    assert_string_equal(f.text, want);
}

#endif
