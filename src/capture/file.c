/*
 * Capture files through libpcap. libpcap reuses its buffer at each packet, so that a batch is copied into an arena that
 * lives as long as the source; a frame that no longer fits waits in libpcap's buffer for the next batch.
 */
#include <errno.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "decode/decode.h"
#include "internal.h"

#define FILE_BUFSIZE (1 << 20)
#define NAME_SHOWN   100
#define ARENA_SIZE   (4 << 20) /* at least one frame of SK_MAX_FRAME; typically a whole batch */

struct file {
    struct capture base;
    char *path;
    const char *name; /* the end of path, short enough to leave room for the reason */
    FILE *fp;
    pcap_t *pcap;
    char *iobuf;
    uint8_t *arena;
    uint64_t size; /* of the file; 0: unknown */
    uint64_t number;
    int linktype;
    struct pcap_pkthdr *waiting; /* a packet that did not fit in the last batch */
    const uint8_t *waiting_data;
    int end; /* SK_EEND or an error: nothing more comes */
};

/* What libpcap said, in the vocabulary of this project. */
static int read_error(struct file *s)
{
    const char *why = pcap_geterr(s->pcap);
    bool cut = strstr(why, "truncated") != NULL;
    snprintf(s->base.error, sizeof s->base.error, "%s: %s packet %llu: %.100s", s->name,
             cut ? "cut after" : "cannot be read past", (unsigned long long)s->number, why);
    return cut ? SK_ETRUNC : SK_EINVAL;
}

/* The next packet, without taking it. False: s->end says why there is none. */
static bool peek(struct file *s)
{
    if (s->waiting)
        return true;
    if (s->end != 0)
        return false;
    switch (pcap_next_ex(s->pcap, &s->waiting, &s->waiting_data)) {
    case 1: return true;
    case PCAP_ERROR_BREAK: s->end = SK_EEND; break;
    default: s->end = read_error(s); break;
    }
    s->waiting = NULL;
    return false;
}

static uint32_t frame_len(const struct pcap_pkthdr *h)
{
    return h->caplen < SK_MAX_FRAME ? h->caplen : SK_MAX_FRAME;
}

static void take(struct file *s, struct sk_frame *f, uint8_t *mem, uint32_t len)
{
    const struct pcap_pkthdr *h = s->waiting;
    memcpy(mem, s->waiting_data, len);
    *f = (struct sk_frame){
        .data = mem,
        .caplen = len,
        .wirelen = h->len < len ? len : h->len,           /* some writers leave it 0 */
        .ts = h->ts.tv_sec * SK_NS_PER_S + h->ts.tv_usec, /* tv_usec holds ns: PCAP_TSTAMP_PRECISION_NANO */
        .number = ++s->number,
        .linktype = s->linktype,
    };
    s->waiting = NULL;
}

static int file_recv(struct capture *c, struct capture_batch *b, int timeout_ms)
{
    struct file *s = (struct file *)c;
    uint32_t used = 0;
    (void)timeout_ms;
    while (b->n < CAPTURE_BATCH && peek(s)) {
        uint32_t len = frame_len(s->waiting);
        if (len > ARENA_SIZE - used)
            break;
        take(s, &b->f[b->n++], s->arena + used, len);
        used += (len + 15U) & ~15U;
        if (used > ARENA_SIZE)
            break;
    }
    return b->n > 0 ? SK_OK : s->end;
}

static void file_release(struct capture *c, struct capture_batch *b)
{
    (void)c;
    (void)b;
}

static void file_close(struct capture *c)
{
    struct file *s = (struct file *)c;
    if (s->pcap)
        pcap_close(s->pcap); /* closes fp */
    else if (s->fp)
        fclose(s->fp);
    free(s->iobuf);
    free(s->arena);
    free(s->path);
    free(s);
}

static const struct capture_ops file_ops = {.recv = file_recv, .release = file_release, .close = file_close};

static int open_stream(struct file *s, const char *path, char *errbuf)
{
    struct stat st;
    if (strcmp(path, "-") == 0) {
        int fd = dup(STDIN_FILENO); /* so that closing and the buffer do not touch stdin itself */
        s->fp = fd >= 0 ? fdopen(fd, "rb") : NULL;
        if (!s->fp && fd >= 0)
            close(fd);
    } else {
        s->fp = fopen(path, "rb");
    }
    if (!s->fp || fstat(fileno(s->fp), &st) != 0) {
        int err = errno;
        snprintf(errbuf, CAPTURE_ERRLEN, "%s: %s", s->name, strerror(err));
        return err == ENOENT ? SK_ENOENT : err == EACCES ? SK_EPERM : SK_EIO;
    }
    if (S_ISDIR(st.st_mode)) {
        snprintf(errbuf, CAPTURE_ERRLEN, "%s: is a directory", s->path);
        return SK_EINVAL;
    }
    s->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    setvbuf(s->fp, s->iobuf, _IOFBF, FILE_BUFSIZE);
    return SK_OK;
}

static int open_pcap(struct file *s, char *errbuf)
{
    char why[PCAP_ERRBUF_SIZE];
    s->pcap = pcap_fopen_offline_with_tstamp_precision(s->fp, PCAP_TSTAMP_PRECISION_NANO, why);
    if (!s->pcap) {
        snprintf(errbuf, CAPTURE_ERRLEN, "%s: not a capture file: %.100s", s->name, why);
        return SK_EINVAL;
    }
    s->linktype = pcap_datalink(s->pcap);
    if (!decode_linktype_known(s->linktype)) {
        const char *name = pcap_datalink_val_to_name(s->linktype);
        snprintf(errbuf, CAPTURE_ERRLEN, "%s: link type %d (%s) cannot be decoded", s->name, s->linktype,
                 name ? name : "unknown");
        return SK_ENOTSUP;
    }
    return SK_OK;
}

int capture_open_file(const char *path, struct capture **out, char *errbuf)
{
    int rc = SK_ENOMEM;
    struct file *s = calloc(1, sizeof *s);
    if (!s)
        return SK_ENOMEM;
    s->base.ops = &file_ops;
    s->path = strdup(strcmp(path, "-") == 0 ? "standard input" : path);
    s->iobuf = malloc(FILE_BUFSIZE);
    s->arena = malloc(ARENA_SIZE);
    if (!s->path || !s->iobuf || !s->arena) {
        snprintf(errbuf, CAPTURE_ERRLEN, "%.200s: out of memory", path);
        goto out;
    }
    size_t len = strlen(s->path);
    s->name = s->path + (len > NAME_SHOWN ? len - NAME_SHOWN : 0);
    rc = open_stream(s, path, errbuf);
    if (rc == SK_OK)
        rc = open_pcap(s, errbuf);
out:
    if (rc != SK_OK)
        file_close(&s->base);
    else
        *out = &s->base;
    return rc;
}

void capture_file_progress(const struct capture *c, uint64_t *done, uint64_t *size)
{
    const struct file *s = (const struct file *)c;
    off_t pos = s->size > 0 ? ftello(s->fp) : 0;
    *done = pos > 0 ? (uint64_t)pos : 0;
    *size = s->size;
}
