/* "did you mean": the nearest known key, by edit distance and by last part. */
#include "base/distance.h"
#include "conf_priv.h"

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* The part of a known path down to the next dot behind depth_len: a section, or the key itself. */
static const char *section_of(const char *path, size_t depth_len, char *buf)
{
    const char *dot = strchr(path + depth_len, '.');
    if (dot == NULL)
        return path;
    memcpy(buf, path, (size_t)(dot - path));
    buf[dot - path] = '\0';
    return buf;
}

/* The key or section on the same level that is nearest: "stremm" is the section "stream". */
static const char *nearest_on_level(const char *path, unsigned *best)
{
    static _Thread_local char found[CONF_PATH_MAX];
    size_t level = (size_t)(last_part(path) - path);
    const char *result = NULL;
    for (unsigned i = 0; i < conf_table_len; i++) {
        const char *known = conf_table[i].path;
        char buf[CONF_PATH_MAX];
        if (strncmp(known, path, level) != 0)
            continue;
        const char *name = section_of(known, level, buf);
        unsigned d = sk_distance(name + level, path + level);
        if (d < *best) {
            *best = d;
            result = strcpy(found, name);
        }
    }
    return result;
}

const char *conf_suggest(const char *path)
{
    if (strlen(path) >= CONF_PATH_MAX)
        return NULL;
    const char *name = last_part(path);
    unsigned best = (unsigned)strlen(name) / 3 + 2; /* farther is no likeness */
    const char *result = nearest_on_level(path, &best);
    if (best <= 1)
        return result;
    for (unsigned i = 0; i < conf_table_len; i++) {
        const char *known = conf_table[i].path;
        /* Right name in the wrong section, or a typo in a section's name within --set. */
        unsigned d = strcmp(last_part(known), name) == 0 ? 1 : sk_distance(known, path);
        if (d < best) {
            best = d;
            result = known;
        }
    }
    return result;
}
