#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024 /* longer lines are cut */

static struct {
    const char *name;
    enum sk_log_level level;
    int journal;
} setup = {.name = "sekisho", .level = SK_LOG_INFO};

void sk_log_setup(const char *name, enum sk_log_level level, int journal)
{
    setup.name = name;
    setup.level = level;
    setup.journal = journal;
}

/* sd-daemon(3): SD_ERR 3, SD_WARNING 4, SD_INFO 6, SD_DEBUG 7. */
static int journal_level(enum sk_log_level level)
{
    static const int n[] = {[SK_LOG_ERROR] = 3, [SK_LOG_WARN] = 4, [SK_LOG_INFO] = 6, [SK_LOG_DEBUG] = 7};
    return n[level];
}

/* One write a line, so that lines of several threads or roles do not mix. */
static void write_line(const char *line, size_t len)
{
    ssize_t n;
    do {
        n = write(STDERR_FILENO, line, len);
    } while (n < 0 && errno == EINTR);
}

void sk_log(enum sk_log_level level, const char *fmt, ...)
{
    static const char *const word[] = {"error: ", "warning: ", "", "debug: "};
    if (level > setup.level)
        return;
    int saved = errno; /* callers log in between a failed call and its errno */
    char line[LOG_LINE_MAX];
    size_t room = sizeof(line) - 1; /* for the newline */
    int head = setup.journal ? snprintf(line, room, "<%d>%s: %s", journal_level(level), setup.name, word[level])
                             : snprintf(line, room, "%s: %s", setup.name, word[level]);
    size_t len = head < 0 ? 0 : (size_t)head < room ? (size_t)head : room - 1;
    va_list ap;
    va_start(ap, fmt);
    int body = vsnprintf(line + len, room - len, fmt, ap);
    va_end(ap);
    if (body > 0)
        len = (size_t)body < room - len ? len + (size_t)body : room - 1;
    line[len++] = '\n';
    write_line(line, len);
    errno = saved;
}
