/*
 * The uplink: the role that speaks with the manager over the network. It tells what the fleet wants and how the
 * connection is; the guard believes of it no more than it can check, and works on when there is none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "guard.h"
#include "ipc/bundle.h"
#include "ipc/ring.h"

#define AGENT_FILE "agent.json" /* in manager.state-dir; `sekisho enroll` writes it last */

/* ---- is there a manager? ---- */

/* When this host enrolled; 0: it has not. */
static int64_t enrolled(const struct conf *c)
{
    char path[4200];
    struct stat st;
    snprintf(path, sizeof(path), "%s/" AGENT_FILE, c->manager.state_dir);
    if (c->manager.enabled == CONF_NO || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return 0;
    return st.st_mtim.tv_sec * SK_NS_PER_S + st.st_mtim.tv_nsec + 1;
}

static bool make_ring(struct guard_uplink *u)
{
    if (u->forward_fd < 0 && ipc_rings_create(1, GUARD_RING_SIZE, &u->forward_fd) != SK_OK)
        return false;
    if (u->forward_wake < 0)
        u->forward_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return u->forward_wake >= 0;
}

void guard_uplink_look(struct guard *g)
{
    struct guard_uplink *u = &g->uplink;
    u->enrolled = enrolled(g->conf);
    u->wanted = u->enrolled != 0;
    if (!u->wanted && g->conf->manager.enabled == CONF_YES)
        sk_log(SK_LOG_WARN, "manager.enabled is yes, but this host has not enrolled: see `sekisho enroll`");
    if (u->wanted && !make_ring(u)) {
        sk_log(SK_LOG_ERROR, "cannot make the ring of events for the manager: %s", strerror(errno));
        u->wanted = false;
    }
}

void guard_uplink_start(struct guard *g)
{
    if (g->uplink.wanted)
        guard_child_start(g, GUARD_UPLINK);
}

static bool same_settings(const struct conf_manager *a, const struct conf_manager *b)
{
    return strcmp(a->state_dir, b->state_dir) == 0 && a->spool_size == b->spool_size && a->forward == b->forward &&
           a->fleet_blocks == b->fleet_blocks && a->rules == b->rules && a->policy == b->policy;
}

/* Without waiting: another one begins when it has ended. */
static void tell_to_end(struct guard *g)
{
    const struct ipc_empty e = {0};
    struct guard_child *c = &g->child[GUARD_UPLINK];
    g->uplink.replace = true;
    g->uplink.news = NEWS_OFF;
    if (c->chan < 0 || ipc_send(c->chan, IPC_STOP, &e, NULL, 0) != SK_OK)
        guard_child_kill(g, GUARD_UPLINK, "does not take messages");
}

void guard_uplink_reload(struct guard *g, const struct conf *old)
{
    struct guard_uplink *u = &g->uplink;
    struct guard_child *c = &g->child[GUARD_UPLINK];
    int64_t before = u->enrolled;
    guard_uplink_look(g);
    bool same = u->enrolled == before && same_settings(&g->conf->manager, &old->manager);
    if (!g->conf->manager.fleet_blocks && old->manager.fleet_blocks)
        guard_fleet_drop(g);
    if (!same && guard_uplink_send_forward(g) == SK_EAGAIN)
        guard_child_kill(g, GUARD_REPORTER, "does not take messages");
    if (c->pid == 0 && !u->wanted)
        c->start_at = INT64_MAX;
    if (c->pid != 0 && !same)
        tell_to_end(g);
    else if (c->pid == 0 && u->wanted && !same)
        guard_child_start(g, GUARD_UPLINK);
}

/* ---- its beginning and its end ---- */

static int send_ring(struct guard *g, enum guard_role r)
{
    struct ipc_setup s = {.workers = 1, .rings = 1, .ring_size = GUARD_RING_SIZE, .forward = g->conf->manager.forward};
    int fds[2] = {g->uplink.forward_fd, g->uplink.forward_wake};
    return ipc_send(g->child[r].chan, IPC_FORWARD, &s, fds, 2);
}

int guard_uplink_send_forward(struct guard *g)
{
    if (!g->uplink.wanted || g->child[GUARD_REPORTER].chan < 0)
        return SK_OK;
    return send_ring(g, GUARD_REPORTER);
}

/* The configuration that is in force, without the rules. */
static int make_bundle(const struct guard *g, int *fd)
{
    struct ipc_bundle *all, *part;
    int rc = ipc_bundle_open(g->bundle_fd, &all);
    if (rc != SK_OK)
        return rc;
    rc = ipc_bundle_create(&part);
    for (unsigned i = 0; rc == SK_OK && i < ipc_bundle_count(all); i++) {
        struct ipc_text t = ipc_bundle_text(all, i);
        if (t.kind == IPC_TEXT_CONF || t.kind == IPC_TEXT_SET)
            rc = ipc_bundle_add(part, t.kind, t.name, t.text, t.len);
        if (rc != SK_OK)
            ipc_bundle_free(part);
    }
    ipc_bundle_free(all);
    return rc == SK_OK ? ipc_bundle_seal(part, fd) : rc;
}

int guard_uplink_send_start(struct guard *g)
{
    const struct ipc_empty e = {0};
    const struct ipc_bundle_note note = {.generation = g->generation};
    int chan = g->child[GUARD_UPLINK].chan, fd = -1;
    int rc = make_bundle(g, &fd);
    if (rc == SK_OK)
        rc = ipc_send(chan, IPC_BUNDLE, &note, &fd, 1);
    if (fd >= 0)
        close(fd);
    if (rc == SK_OK)
        rc = send_ring(g, GUARD_UPLINK);
    return rc == SK_OK ? ipc_send(chan, IPC_START, &e, NULL, 0) : rc;
}

void guard_uplink_ready(struct guard *g)
{
    g->uplink.news = NEWS_DUE;
}

static void answer(struct guard *g, struct guard_look_up *l, json_t *reported);

static json_t *state_json(const char *state)
{
    return json_pack("{s:s}", "state", state);
}

void guard_uplink_died(struct guard *g)
{
    struct guard_uplink *u = &g->uplink;
    u->news = NEWS_OFF;
    u->heard = false;
    u->paused_until = 0;
    for (unsigned i = 0; i < GUARD_LOOK_UPS; i++)
        if (u->look_up[i].client != 0)
            answer(g, &u->look_up[i], state_json("not-connected"));
}

void guard_uplink_stop(struct guard *g)
{
    struct guard_uplink *u = &g->uplink;
    if (u->forward_fd >= 0)
        close(u->forward_fd);
    if (u->forward_wake >= 0)
        close(u->forward_wake);
    u->forward_fd = u->forward_wake = -1;
    guard_bundle_stop(g);
}

/* ---- the connection ---- */

static bool connected(const struct guard *g)
{
    return g->child[GUARD_UPLINK].ready && g->uplink.heard && g->uplink.said.state == IPC_MANAGER_UP;
}

static void say_state(struct guard *g, const struct ipc_manager *m)
{
    int64_t now = sk_now_mono();
    if (now < g->uplink.say_state)
        return;
    g->uplink.say_state = now + GUARD_SAY_EVERY;
    if (m->state == IPC_MANAGER_UP)
        sk_log(SK_LOG_INFO, "connected to the manager %s as %s", m->url, m->agent);
    else
        sk_log(SK_LOG_WARN, "the manager %s %s%s%s", m->url,
               m->state == IPC_MANAGER_REFUSED ? "refuses this host" : "is not reached", m->text[0] != '\0' ? ": " : "",
               m->text);
}

static bool same_addresses(const struct ipc_manager *a, const struct ipc_manager *b)
{
    for (unsigned i = 0; i < a->naddr && i < b->naddr; i++)
        if (!sk_addr_eq(&a->addr[i], &b->addr[i]))
            return false;
    return a->naddr == b->naddr;
}

/* Who cannot be reached has no addresses to tell: those from before stay spared. */
static void on_manager(struct guard *g, const struct ipc_manager *said)
{
    struct guard_uplink *u = &g->uplink;
    struct ipc_manager m = *said;
    guard_make_plain(m.agent);
    guard_make_plain(m.url);
    guard_make_plain(m.text);
    if (m.naddr == 0) {
        m.naddr = u->said.naddr;
        memcpy(m.addr, u->said.addr, sizeof(m.addr));
    }
    if (!u->heard || m.state != u->said.state)
        say_state(g, &m);
    u->addr_pending = u->addr_pending || !same_addresses(&m, &u->said);
    u->said = m;
    u->said_at = sk_now_mono();
    u->heard = true;
}

void guard_uplink_spare(const struct guard *g, struct never_list *l)
{
    const struct ipc_manager *m = &g->uplink.said;
    for (unsigned i = 0; g->uplink.wanted && i < m->naddr && i < IPC_MANAGER_ADDR; i++) {
        struct sk_prefix p = sk_prefix_make(&m->addr[i], 128);
        (void)!never_add(l, NEVER_MANAGER, &p, "the fleet's manager"); /* a list that is full says so itself */
    }
}

/* However often its addresses change, most of the time is left for other work. */
static void follow_addresses(struct guard *g)
{
    struct guard_uplink *u = &g->uplink;
    int64_t now = sk_now_mono();
    if (!u->addr_pending || now < u->next_addr)
        return;
    u->addr_pending = false;
    guard_never_discover(g);
    int64_t end = sk_now_mono(), pause = 4 * (end - now);
    u->next_addr = end + (pause > GUARD_LOOK_EVERY ? pause : GUARD_LOOK_EVERY);
}

/* ---- what the manager knows of a block ---- */

static void answer(struct guard *g, struct guard_look_up *l, json_t *reported)
{
    json_object_set_new(json_object_get(l->answer, "block"), "reported", reported);
    ipc_control_answer(g->control, l->client, l->answer);
    *l = (struct guard_look_up){0};
}

static json_t *at_once(json_t *ans, const char *state)
{
    json_object_set_new(json_object_get(ans, "block"), "reported", state_json(state));
    return ans;
}

json_t *guard_uplink_explain(struct guard *g, uint64_t client, const struct sk_prefix *target, json_t *ans)
{
    struct guard_uplink *u = &g->uplink;
    struct guard_look_up *l = u->look_up;
    struct ipc_look_up q = {.target = *target};
    while (l < u->look_up + GUARD_LOOK_UPS && l->client != 0)
        l++;
    if (!u->wanted)
        return at_once(ans, "no-manager");
    if (!connected(g))
        return at_once(ans, "not-connected");
    q.id = ++u->look_up_id;
    if (l == u->look_up + GUARD_LOOK_UPS || ipc_send(g->child[GUARD_UPLINK].chan, IPC_LOOK_UP, &q, NULL, 0) != SK_OK)
        return at_once(ans, "waiting");
    *l = (struct guard_look_up){
        .client = client, .id = q.id, .until = sk_now_mono() + GUARD_LOOK_UP_TIME, .answer = ans};
    return NULL;
}

/* "REGIONAL eu-west-1 NAME" */
static json_t *set_json(char *text)
{
    char *save = NULL;
    guard_make_plain(text);
    const char *scope = strtok_r(text, " ", &save), *region = strtok_r(NULL, " ", &save);
    return json_pack("{s:s,s:s,s:s}", "set", region != NULL ? save : "", "scope", scope != NULL ? scope : "", "region",
                     region != NULL ? region : "");
}

static json_t *there_json(struct ipc_found *f)
{
    char when[40];
    json_t *sets = json_array();
    guard_make_plain(f->host);
    guard_make_plain(f->block);
    for (unsigned i = 0; i < f->nsets; i++)
        json_array_append_new(sets, set_json(f->set[i]));
    return json_pack("{s:s,s:b,s:I,s:s,s:s,s:s,s:o}", "state", "known", "in_force", 1, "hosts", (json_int_t)f->agents,
                     "host", f->host, "id", f->block, "expires", sk_time_format(f->expires, when), "aws_waf", sets);
}

static json_t *found_json(struct ipc_found *f)
{
    if (f->state == IPC_FOUND_THERE)
        return there_json(f);
    if (f->state == IPC_FOUND_NOT_THERE)
        return json_pack("{s:s,s:b}", "state", "known", "in_force", 0);
    return state_json(f->state == IPC_FOUND_WAITING ? "waiting" : "not-connected");
}

/* Nobody may wait for it any more. */
static void on_found(struct guard *g, const struct ipc_found *said)
{
    struct ipc_found f = *said;
    for (unsigned i = 0; i < GUARD_LOOK_UPS; i++)
        if (g->uplink.look_up[i].client != 0 && g->uplink.look_up[i].id == f.id) {
            answer(g, &g->uplink.look_up[i], found_json(&f));
            return;
        }
}

static void give_up_look_ups(struct guard *g, int64_t now)
{
    for (unsigned i = 0; i < GUARD_LOOK_UPS; i++)
        if (g->uplink.look_up[i].client != 0 && now >= g->uplink.look_up[i].until)
            answer(g, &g->uplink.look_up[i], state_json("waiting"));
}

/* ---- its part of the loop ---- */

bool guard_uplink_message(struct guard *g, struct ipc_msg *m)
{
    const void *body = m->body;
    if (!g->child[GUARD_UPLINK].ready)
        return false;
    switch (m->type) {
    case IPC_ALIVE: g->uplink.beats++; return true;
    case IPC_FLEET: guard_fleet_message(g, (const struct ipc_fleet *)body); return true;
    case IPC_FLEET_DONE: guard_fleet_done(g, (const struct ipc_fleet_done *)body); return true;
    case IPC_MANAGER: on_manager(g, (const struct ipc_manager *)body); return true;
    case IPC_SIGNED:
        guard_bundle_message(g, (const struct ipc_signed *)body, m->fd[0]);
        m->fd[0] = -1;
        return true;
    case IPC_FOUND: on_found(g, (const struct ipc_found *)body); return true;
    default: return false;
    }
}

bool guard_uplink_paused(const struct guard *g)
{
    return g->uplink.paused_until != 0 && sk_now_mono() < g->uplink.paused_until;
}

bool guard_uplink_wants_out(const struct guard *g)
{
    return g->uplink.news == NEWS_DUE || g->uplink.news == NEWS_TELLING;
}

void guard_uplink_tick(struct guard *g)
{
    int64_t now = sk_now_mono();
    give_up_look_ups(g, now);
    follow_addresses(g);
    guard_fleet_tick(g);
    guard_bundle_tick(g);
    guard_news_tick(g, sk_now_wall());
}

static void due(int64_t *at, int64_t when)
{
    if (when < *at)
        *at = when;
}

int64_t guard_uplink_deadline(const struct guard *g)
{
    const struct guard_uplink *u = &g->uplink;
    int64_t at = INT64_MAX;
    if (u->sweeping)
        return 0;
    if (guard_uplink_paused(g))
        due(&at, u->paused_until);
    if (u->addr_pending)
        due(&at, u->next_addr);
    for (unsigned i = 0; i < GUARD_LOOK_UPS; i++)
        if (u->look_up[i].client != 0)
            due(&at, u->look_up[i].until);
    return at;
}

/* ---- showing ---- */

static json_t *u64(uint64_t v)
{
    return json_integer((json_int_t)(v > INT64_MAX ? INT64_MAX : v));
}

static const char *state_of(const struct guard *g)
{
    static const char *const names[IPC_MANAGER_STATES] = {"trying", "connected", "refused"};
    const struct guard_uplink *u = &g->uplink;
    if (!u->wanted)
        return "none";
    return g->child[GUARD_UPLINK].ready && u->heard ? names[u->said.state] : "starting";
}

static void put_time(json_t *o, const char *key, int64_t ns)
{
    char buf[40];
    if (ns != 0)
        json_object_set_new(o, key, json_string(sk_time_format(ns, buf)));
}

static json_t *addresses_json(const struct ipc_manager *m)
{
    char buf[SK_ADDR_STRLEN];
    json_t *a = json_array();
    for (unsigned i = 0; i < m->naddr && i < IPC_MANAGER_ADDR; i++)
        json_array_append_new(a, json_string(sk_addr_format(&m->addr[i], buf)));
    return a;
}

json_t *guard_uplink_json(const struct guard *g)
{
    const struct ipc_manager *m = &g->uplink.said;
    json_t *o = json_pack("{s:s}", "state", state_of(g));
    if (!g->uplink.wanted)
        return o;
    json_object_set_new(o, "url", json_string(m->url));
    json_object_set_new(o, "agent", json_string(m->agent));
    json_object_set_new(o, "addresses", addresses_json(m));
    put_time(o, "since", m->since);
    put_time(o, "last_ok", m->last_ok);
    json_object_set_new(o, "told_ms_ago", json_integer((sk_now_mono() - g->uplink.said_at) / SK_NS_PER_MS));
    json_object_set_new(o, "spooled", u64(m->spooled));
    json_object_set_new(o, "spooled_bytes", u64(m->spooled_bytes));
    json_object_set_new(o, "sent", u64(m->sent));
    json_object_set_new(o, "lost", u64(m->lost));
    json_object_set_new(o, "events_lost", u64(ipc_status_get(&g->status->reporter.forward_lost)));
    put_time(o, "certificate_until", m->cert_until);
    json_object_set_new(o, "certificate_seconds",
                        json_integer(m->cert_until != 0 ? (m->cert_until - sk_now_wall()) / SK_NS_PER_S : 0));
    if (m->text[0] != '\0')
        json_object_set_new(o, "failure", json_string(m->text));
    json_object_set_new(o, "blocks_told", u64(g->uplink.told));
    json_object_set_new(o, "syncs", u64(g->uplink.syncs));
    json_object_set_new(o, "fleet", guard_fleet_json(g));
    json_object_set_new(o, "rules", guard_bundle_json(g, BUNDLE_RULES));
    json_object_set_new(o, "policy", guard_bundle_json(g, BUNDLE_POLICY));
    return o;
}
