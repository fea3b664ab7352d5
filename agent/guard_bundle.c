/*
 * Policy and rules of the fleet: signed by who keeps the signing key, which the manager need not. Nothing of a bundle
 * is looked at before its signature is right; then it goes to disk beside what is in force, is loaded on trial as any
 * reload is, and counts from the moment that the engine has taken it. What is refused leaves no trace but in status.
 *
 *   <guard.state-dir>/signing-keys     root's own: an Ed25519 key a line, base64
 *   <guard.state-dir>/versions         what is in force, JSON; by which keys
 *   <guard.state-dir>/rules/VERSION-KEYS/                 rule files; KEYS: of the hash of the keys
 *   <guard.state-dir>/policy/VERSION-KEYS/policy.json     settings
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/escape.h"
#include "base/log.h"
#include "guard.h"
#include "inputs.h"
#include "ipc/blob.h"

#define KEYS_FILE     "signing-keys"
#define VERSIONS_FILE "versions"
#define POLICY_FILE   "policy.json"
#define KEYS_MAX      16
#define KEY_TEXT      44 /* base64 of PKI_ED25519_KEY bytes */
#define FILE_MAX      65536
#define PATH_ROOM     4400
#define LOOK_EVERY    (2 * SK_NS_PER_S) /* signatures of large bundles take time */

struct keys {
    uint8_t key[KEYS_MAX][PKI_ED25519_KEY];
    unsigned n;
    char hash[65]; /* of the file */
};

/* ---- files ---- */

static void in_state(const struct guard *g, char path[PATH_ROOM], const char *name)
{
    snprintf(path, PATH_ROOM, "%s/%s", g->conf->guard.state_dir, name);
}

/* Of one on trial, or of what is in force: another enrolment's versions may be the same. */
static void folder_of(const struct guard_bundles *s, const char *state_dir, enum bundle_kind k, bool trial,
                      char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%s/%s/%llu-%.8s", state_dir, bundle_kind_name(k),
             (unsigned long long)(trial ? s->of[k].trial : s->of[k].in_force), trial ? s->next_keys : s->keys);
}

static int write_file(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return SK_EIO;
    ssize_t n = 0;
    for (size_t at = 0; at < len && n >= 0; at += (size_t)n)
        n = write(fd, text + at, len - at);
    bool good = n >= 0 && fsync(fd) == 0;
    return close(fd) == 0 && good ? SK_OK : SK_EIO;
}

/* A folder of plain files. */
static void remove_folder(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    (void)rmdir(path);
}

static int make_folder(const struct guard *g, enum bundle_kind k, char path[PATH_ROOM])
{
    in_state(g, path, bundle_kind_name(k));
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return SK_EIO;
    folder_of(&g->bundles, g->conf->guard.state_dir, k, true, path);
    remove_folder(path); /* of a trial that was cut off */
    return mkdir(path, 0700) == 0 ? SK_OK : SK_EIO;
}

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good ? SK_OK : SK_EIO;
}

/* ---- keys ---- */

static bool key_of(const char *text, size_t len, uint8_t key[PKI_ED25519_KEY])
{
    uint8_t buf[KEY_TEXT];
    if (len != KEY_TEXT || EVP_DecodeBlock(buf, (const uint8_t *)text, KEY_TEXT) < PKI_ED25519_KEY)
        return false;
    memcpy(key, buf, PKI_ED25519_KEY);
    return true;
}

/* Whoever can write that file decides what this host loads. */
static int keys_safe(const char *path, const char **why)
{
    struct stat st;
    *why = "there are no signing keys: has this host enrolled?";
    if (stat(path, &st) != 0)
        return SK_ENOENT;
    *why = "others than root may change the signing keys";
    return S_ISREG(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 0022) == 0 ? SK_OK : SK_EPERM;
}

static int read_keys(const struct guard *g, struct keys *k, const char **why)
{
    char path[PATH_ROOM];
    size_t len;
    *k = (struct keys){0};
    in_state(g, path, KEYS_FILE);
    int rc = keys_safe(path, why);
    char *text = rc == SK_OK ? inputs_read_regular(path, FILE_MAX, &len) : NULL;
    if (text == NULL)
        return rc == SK_OK ? SK_EIO : rc;
    pki_hash_text(text, len, k->hash);
    char *save = NULL;
    for (char *l = strtok_r(text, "\r\n", &save); l != NULL && k->n < KEYS_MAX; l = strtok_r(NULL, "\r\n", &save))
        k->n += key_of(l, strlen(l), k->key[k->n]);
    free(text);
    *why = "the file of signing keys holds none";
    return k->n > 0 ? SK_OK : SK_EINVAL;
}

/* ---- what is in force ---- */

static json_t *read_json(const char *path, size_t max)
{
    size_t len;
    char *text = inputs_read_regular(path, max, &len);
    json_t *o = text != NULL ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    free(text);
    return o;
}

static uint64_t version_of(const json_t *o, enum bundle_kind k)
{
    json_int_t v = json_integer_value(json_object_get(o, bundle_kind_name(k)));
    return v > 0 ? (uint64_t)v : 0;
}

static void read_versions(struct guard_bundles *s, const char *state_dir)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof(path), "%s/" VERSIONS_FILE, state_dir);
    json_t *o = read_json(path, FILE_MAX);
    for (int k = 0; k < BUNDLE_KINDS; k++)
        s->of[k].in_force = version_of(o, (enum bundle_kind)k);
    snprintf(s->keys, sizeof(s->keys), "%s",
             json_is_string(json_object_get(o, "keys")) ? json_string_value(json_object_get(o, "keys")) : "");
    json_decref(o);
    s->read = true;
}

static int write_versions(const struct guard *g)
{
    char path[PATH_ROOM], next[PATH_ROOM + 8];
    const struct guard_bundles *s = &g->bundles;
    json_t *o = json_pack("{s:I,s:I,s:s}", "policy", (json_int_t)s->of[BUNDLE_POLICY].in_force, "rules",
                          (json_int_t)s->of[BUNDLE_RULES].in_force, "keys", s->keys);
    char *text = json_dumps(o, JSON_COMPACT);
    in_state(g, path, VERSIONS_FILE);
    snprintf(next, sizeof(next), "%s.new", path);
    int rc = text != NULL ? write_file(next, text, strlen(text)) : SK_ENOMEM;
    if (rc == SK_OK && rename(next, path) != 0)
        rc = SK_EIO;
    if (rc == SK_OK)
        rc = sync_folder(g->conf->guard.state_dir);
    free(text);
    json_decref(o);
    return rc;
}

/* Where that lies which counts for a load: what is on trial, or in force. False: nothing does. */
static bool counts(const struct guard_bundles *s, const char *state_dir, enum bundle_kind k, char path[PATH_ROOM])
{
    bool trial = s->of[k].trial != 0;
    folder_of(s, state_dir, k, trial, path);
    return trial || s->of[k].in_force != 0;
}

json_t *guard_bundle_settings(struct guard *g, const struct conf *c)
{
    struct guard_bundles *s = &g->bundles;
    char path[PATH_ROOM];
    if (!s->read)
        read_versions(s, c->guard.state_dir);
    if (!c->manager.policy || c->manager.enabled == CONF_NO || !counts(s, c->guard.state_dir, BUNDLE_POLICY, path))
        return NULL;
    snprintf(path + strlen(path), sizeof(path) - strlen(path), "/" POLICY_FILE);
    json_t *o = read_json(path, BUNDLE_MAX);
    if (!json_is_object(o))
        sk_log(SK_LOG_ERROR, "%s: no policy can be read there", path);
    return o;
}

bool guard_bundle_on_trial(const struct guard *g)
{
    return g->bundles.of[BUNDLE_POLICY].trial + g->bundles.of[BUNDLE_RULES].trial != 0;
}

static int is_rules(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int add_files(struct ipc_bundle *b, const char *folder)
{
    struct dirent **v;
    char path[PATH_ROOM + 260];
    int n = scandir(folder, &v, is_rules, alphasort), rc = SK_OK;
    if (n < 0)
        sk_log(SK_LOG_ERROR, "%s: %s: the fleet's rules are missing", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        size_t len;
        snprintf(path, sizeof(path), "%s/%s", folder, v[i]->d_name);
        char *text = rc == SK_OK ? inputs_read_regular(path, INPUTS_MAX_FILE, &len) : NULL;
        if (text != NULL)
            rc = ipc_bundle_add(b, IPC_TEXT_RULES, path, text, len);
        else if (rc == SK_OK)
            rc = SK_EIO;
        free(text);
        free(v[i]);
    }
    if (n >= 0)
        free(v);
    return rc;
}

int guard_bundle_add_rules(const struct guard *g, struct ipc_bundle *b, const struct conf *c)
{
    char path[PATH_ROOM];
    if (!c->manager.rules || c->manager.enabled == CONF_NO ||
        !counts(&g->bundles, c->guard.state_dir, BUNDLE_RULES, path))
        return SK_OK;
    return add_files(b, path);
}

/* ---- the answer ---- */

static void say_done(struct guard *g, enum bundle_kind k, uint64_t version, int rc, const char *text)
{
    struct ipc_signed_done d = {.kind = k, .rc = rc, .version = version, .in_force = g->bundles.of[k].in_force};
    const struct guard_child *c = &g->child[GUARD_UPLINK];
    snprintf(d.text, sizeof(d.text), "%s", text);
    if (c->chan >= 0 && c->ready)
        (void)!ipc_send(c->chan, IPC_SIGNED_DONE, &d, NULL, 0); /* full: it comes again, and is told then */
}

void guard_bundle_tell(struct guard *g)
{
    for (int k = 0; k < BUNDLE_KINDS; k++)
        say_done(g, (enum bundle_kind)k, 0, SK_OK, "");
}

/* A setting of a policy is read as one of --set, but did not come from there. */
static const char *without_option(const char *why)
{
    static const char option[] = "--set: ";
    return strncmp(why, option, sizeof(option) - 1) == 0 ? why + sizeof(option) - 1 : why;
}

static void refuse(struct guard *g, enum bundle_kind k, uint64_t version, int rc, const char *why)
{
    struct guard_bundle *b = &g->bundles.of[k];
    snprintf(b->why, sizeof(b->why), "%s", k == BUNDLE_POLICY ? without_option(why) : why);
    guard_make_plain(b->why);
    b->refused = version;
    b->refused_at = sk_now_wall();
    sk_log(SK_LOG_WARN, "%s %llu of the manager refused: %s", bundle_kind_name(k), (unsigned long long)version, b->why);
    say_done(g, k, version, rc, b->why);
}

/* ---- a bundle ---- */

static int store_rules(const struct bundle *b, const char *folder)
{
    char path[PATH_ROOM + BUNDLE_NAME_MAX + 2];
    size_t i;
    const json_t *f;
    int rc = SK_OK;
    json_array_foreach(json_object_get(b->root, "files"), i, f)
    {
        const json_t *text = json_object_get(f, "text");
        snprintf(path, sizeof(path), "%s/%s", folder, json_string_value(json_object_get(f, "name")));
        if (rc == SK_OK)
            rc = write_file(path, json_string_value(text), json_string_length(text));
    }
    return rc;
}

static int store_policy(const struct bundle *b, const char *folder)
{
    char path[PATH_ROOM + sizeof(POLICY_FILE) + 1];
    char *text = json_dumps(json_object_get(b->root, "settings"), JSON_COMPACT);
    snprintf(path, sizeof(path), "%s/" POLICY_FILE, folder);
    int rc = text != NULL ? write_file(path, text, strlen(text)) : SK_ENOMEM;
    free(text);
    return rc;
}

static int store(const struct guard *g, const struct bundle *b)
{
    char folder[PATH_ROOM];
    int rc = make_folder(g, b->kind, folder);
    if (rc == SK_OK)
        rc = b->kind == BUNDLE_RULES ? store_rules(b, folder) : store_policy(b, folder);
    return rc == SK_OK ? sync_folder(folder) : rc;
}

static void end_trial(struct guard *g, enum bundle_kind k)
{
    char folder[PATH_ROOM];
    folder_of(&g->bundles, g->conf->guard.state_dir, k, true, folder);
    remove_folder(folder);
    g->bundles.of[k].trial = 0;
}

/* Keys of another enrolment: its versions begin anew. */
static void follow_keys(struct guard_bundles *s, const struct keys *k)
{
    s->floor_off = strcmp(s->keys, k->hash) != 0;
    snprintf(s->next_keys, sizeof(s->next_keys), "%s", k->hash);
}

static bool is_older(const struct guard_bundles *s, enum bundle_kind k, uint64_t version)
{
    return !s->floor_off && version < s->of[k].in_force;
}

/* Its signature is right. */
static void try_bundle(struct guard *g, const struct bundle *b)
{
    struct guard_bundles *s = &g->bundles;
    char why[256];
    uint64_t version = (uint64_t)b->version;
    if (is_older(s, b->kind, version)) {
        refuse(g, b->kind, version, SK_EEXIST, "a later version is in force");
        return;
    }
    if (!s->floor_off && version == s->of[b->kind].in_force) {
        say_done(g, b->kind, version, SK_OK, "");
        return;
    }
    s->of[b->kind].trial = version;
    snprintf(why, sizeof(why), "it cannot be written into guard.state-dir");
    int rc = store(g, b);
    if (rc == SK_OK)
        rc = guard_reload(g, 0, why, sizeof(why));
    if (rc == SK_OK)
        return; /* guard_bundle_loaded */
    end_trial(g, b->kind);
    refuse(g, b->kind, version, rc, why);
}

static void open_bundle(struct guard *g, const struct ipc_signed *m, const void *p, size_t len)
{
    struct keys keys;
    struct bundle b = {0};
    const char *why;
    int rc = read_keys(g, &keys, &why);
    if (rc == SK_OK) {
        follow_keys(&g->bundles, &keys);
        rc = bundle_open(p, len, m->sig, keys.key, keys.n, &b, &why);
    }
    if (rc != SK_OK)
        refuse(g, (enum bundle_kind)m->kind, m->version, rc, why);
    else if ((uint32_t)b.kind != m->kind || (uint64_t)b.version != m->version)
        refuse(g, (enum bundle_kind)m->kind, m->version, SK_EINVAL, "it is another one than it was announced as");
    else
        try_bundle(g, &b);
    bundle_free(&b);
}

static void take(struct guard *g, struct guard_bundle *w)
{
    const void *p;
    size_t len;
    struct ipc_signed m = w->said;
    int rc = ipc_blob_map(w->fd, BUNDLE_MAX, &p, &len);
    close(w->fd);
    w->fd = -1;
    if (rc != SK_OK) {
        refuse(g, (enum bundle_kind)m.kind, m.version, rc, "it is too large, or cannot be read");
        return;
    }
    open_bundle(g, &m, p, len);
    ipc_blob_unmap(p, len);
}

/* At once if nothing else is being loaded; of several of a kind the last one. */
void guard_bundle_message(struct guard *g, const struct ipc_signed *m, int fd)
{
    const struct conf_manager *c = &g->conf->manager;
    struct guard_bundle *w = &g->bundles.of[m->kind];
    if (!(m->kind == BUNDLE_RULES ? c->rules : c->policy)) {
        close(fd);
        refuse(g, (enum bundle_kind)m->kind, m->version, SK_ENOTSUP,
               m->kind == BUNDLE_RULES ? "manager.rules is no on this host" : "manager.policy is no on this host");
        return;
    }
    if (w->fd >= 0)
        close(w->fd);
    w->fd = fd;
    w->said = *m;
}

void guard_bundle_tick(struct guard *g)
{
    struct guard_bundles *s = &g->bundles;
    int64_t now = sk_now_mono();
    for (int k = 0; k < BUNDLE_KINDS; k++) {
        if (s->of[k].fd < 0 || now < s->next || g->next_conf != NULL || !g->child[GUARD_ENGINE].ready)
            continue;
        take(g, &s->of[k]);
        s->next = sk_now_mono() + LOOK_EVERY;
    }
}

static void in_force(struct guard *g, enum bundle_kind k)
{
    struct guard_bundles *s = &g->bundles;
    char old[BUNDLE_KINDS][PATH_ROOM];
    for (int i = 0; i < BUNDLE_KINDS; i++)
        folder_of(s, g->conf->guard.state_dir, (enum bundle_kind)i, false, old[i]);
    s->of[k].in_force = s->of[k].trial;
    s->of[k].trial = 0;
    s->of[k].since = sk_now_wall();
    if (s->floor_off)
        s->of[1 - k].in_force = 0; /* the other kind's is of another manager */
    memcpy(s->keys, s->next_keys, sizeof(s->keys));
    int rc = write_versions(g);
    if (rc != SK_OK)
        sk_log(SK_LOG_ERROR, "cannot note in %s/" VERSIONS_FILE " what is in force: %s", g->conf->guard.state_dir,
               strerror(errno));
    for (int i = 0; rc == SK_OK && i < BUNDLE_KINDS; i++)
        if (i == (int)k || s->floor_off)
            remove_folder(old[i]);
    sk_log(SK_LOG_INFO, "%s %llu of the manager is in force", bundle_kind_name(k),
           (unsigned long long)s->of[k].in_force);
    say_done(g, k, s->of[k].in_force, SK_OK, "");
}

void guard_bundle_loaded(struct guard *g, const struct ipc_loaded *l)
{
    for (int k = 0; k < BUNDLE_KINDS; k++) {
        uint64_t trial = g->bundles.of[k].trial;
        if (trial == 0)
            continue;
        if (l->rc == SK_OK) {
            in_force(g, (enum bundle_kind)k);
            continue;
        }
        end_trial(g, (enum bundle_kind)k);
        refuse(g, (enum bundle_kind)k, trial, l->rc, l->text[0] != '\0' ? l->text : sk_strerror(l->rc));
    }
}

void guard_bundle_stop(struct guard *g)
{
    for (int k = 0; k < BUNDLE_KINDS; k++)
        if (g->bundles.of[k].fd >= 0)
            close(g->bundles.of[k].fd);
    json_decref(g->bundles.settings);
    g->bundles.settings = NULL;
}

json_t *guard_bundle_json(const struct guard *g, enum bundle_kind k)
{
    char buf[40];
    const struct guard_bundle *b = &g->bundles.of[k];
    json_t *o = json_pack("{s:I}", "version", (json_int_t)b->in_force);
    if (b->since != 0)
        json_object_set_new(o, "since", json_string(sk_time_format(b->since, buf)));
    if (b->refused_at != 0)
        json_object_set_new(o, "refused",
                            json_pack("{s:I,s:s,s:s}", "version", (json_int_t)b->refused, "time",
                                      sk_time_format(b->refused_at, buf), "why", b->why));
    return o;
}
