#!/usr/bin/env python3
"""Who is blocked behind proxies: every forgery of forgeries.py through real nginx and HAProxy, in each way in which they
can stand before the server. Each is sent from an address of its own, the only one that may be blocked for it.

    attackers 10.77.64.0/18, fd77::a:0/112 --+            +-- proxies 10.77.20.1 .. 10.77.20.7, fd77::20:1
                                             +-- switch --+
    visitors  10.77.9.9, fd77::9:9 ----------+            +-- server  10.77.30.1, fd77::30:1 (nginx; the agent)
"""
import argparse
import collections
import ipaddress
import json
import os
import re
import shutil
import sys
import time

from bed import Bed, Tally, wait_until
from forgeries import FORGERIES, Sender

VICTIM, VICTIM6, SERVER, GATEWAY = "10.77.9.9", "fd77::9:9", "10.77.30.1", "10.77.0.1"
# Each proxy speaks from an address of its own, so that it can be declared by itself.
APPEND, HAPROXY, TCP, REMOVE, MISTAKEN, PRESERVE, OPAQUE = (f"10.77.20.{i}" for i in range(1, 8))
WORDS = {"VICTIM": VICTIM, "VICTIM6": VICTIM6, "HOP": APPEND, "HOP2": HAPROXY, "SERVER": SERVER, "GATEWAY": GATEWAY}
RULE = ('drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"union select"; flow:established,to_server; http.uri; '
        'content:"union"; nocase; content:"select"; nocase; sid:1; rev:1;)\n')
CONF = """
vars:
  address-groups:
    HOME_NET: "[10.77.20.0/24, 10.77.30.0/24, fd77::20:0/112, fd77::30:0/112]"
    EXTERNAL_NET: "!$HOME_NET"
decide:
  brake:
    share: 100
    minimum: 1000000
    rate: 1000000
"""


TOTAL = collections.Counter()


class Topology:
    """One way from a client to the server. expect: what the agent can know of the client; begin: what every client writes
    before its requests."""
    made = []

    def __init__(self, name, port, expect, seen, target="10.77.20.1", begin=b""):
        self.name, self.port, self.expect, self.seen, self.target, self.begin = name, port, expect, seen, target, begin
        self.index = len(Topology.made)
        Topology.made.append(self)

    def address(self, n):
        return f"10.77.{64 + 4 * self.index + n // 250}.{1 + n % 250}"

    def seen_of(self, client):
        """What the server's log says of a client that is honest."""
        return [s.replace("C", f'"[{client}]"' if ":" in client and "for=" in s else client) for s in self.seen]

    def uri(self, n):
        return f"/index.html?t={self.index}&n={n}&id=1%20UNION%20SELECT%201"


HONEST = 900       # numbers of the honest attackers: no lies about themselves
HONEST_COUNT = 4
HONEST6 = 990      # one more, over IPv6

# Configurations: name, proxies.header, .http, .proxy-protocol, .opaque; and the ways for which each is right. The list in a
# way is what the server's log says of an honest client C: [peer, PROXY address, X-Forwarded-For, Forwarded, X-Real-IP].
RUNS = [
    ("", "X-Forwarded-For", [APPEND, HAPROXY, REMOVE, MISTAKEN], [TCP], [OPAQUE], [
        Topology("direct", 80, "direct", ["C", "", "", "", ""], SERVER),
        Topology("direct, a PROXY header of its own", 81, "direct", ["C", VICTIM, "", "", ""], SERVER,
                 f"PROXY TCP4 {VICTIM} {SERVER} 4711 81\r\n".encode()),
        Topology("nginx, appends", 8001, "proven", [APPEND, "", "C", "", ""]),
        Topology("HAProxy, a line of its own", 8002, "proven", [HAPROXY, "", "C", "", ""]),
        Topology("nginx -> HAProxy", 8003, "proven", [HAPROXY, "", f"C, {APPEND}", "", ""]),
        Topology("HAProxy, PROXY v2", 8004, "proven", [TCP, "C", "", "", ""]),
        Topology("HAProxy, PROXY v1", 8005, "proven", [TCP, "C", "", "", ""]),
        Topology("nginx -> HAProxy, PROXY v2", 8006, "proven", [TCP, APPEND, "C", "", ""]),
        Topology("PROXY v2, declared as http", 8007, "unproven", [MISTAKEN, "C", "", "", ""]),
        Topology("nginx, removes", 8009, "unproven", [REMOVE, "", "", "", ""]),
        Topology("nginx, preserves, declared as opaque", 8013, "unproven", [OPAQUE, "", "", "", ""]),
    ]),
    ("none", "none", [PRESERVE], [], [], [Topology("nginx, preserves", 8008, "unproven", [PRESERVE, "", "", "", ""])]),
    ("forwarded", "Forwarded", [APPEND, HAPROXY], [], [], [
        Topology("nginx, Forwarded", 8010, "proven", [APPEND, "", "", "for=C", ""]),
        Topology("HAProxy, Forwarded", 8011, "proven", [HAPROXY, "", "", "for=C", ""]),
    ]),
    ("own", "X-Real-IP", [APPEND], [], [], [Topology("nginx, X-Real-IP", 8012, "proven", [APPEND, "", "", "", "C"])]),
]

NGINX_HEAD = """worker_processes 1; pid {dir}/{name}.pid; error_log {dir}/{name}.log; user root;
events {{ worker_connections 2048; }}
http {{ large_client_header_buffers 8 128k; client_header_timeout 2s; client_body_timeout 2s; keepalive_requests 100000;
  client_body_temp_path /tmp; proxy_temp_path /tmp; """

SERVER_NGINX = """
  log_format seen escape=json '["$request_uri","$remote_addr","$proxy_protocol_addr","$http_x_forwarded_for",'
                              '"$http_forwarded","$http_x_real_ip"]';
  access_log {dir}/seen.log seen;
  server {{ listen 80; listen [::]:80; root {dir}/www; }}
  server {{ listen 81 proxy_protocol; listen [::]:81 proxy_protocol; root {dir}/www; }} }}
"""

HOP_NGINX = """
  access_log off; proxy_http_version 1.1; proxy_read_timeout 3s; ignore_invalid_headers on;
  map $remote_addr $element {{ ~: 'for="[$remote_addr]"'; default for=$remote_addr; }}
  map $http_forwarded $forwarded {{ "" $element; default "$http_forwarded, $element"; }}
""" + "".join(f"""
  upstream u{port} {{{{ server {server}; keepalive 8; }}}}
  server {{{{ listen {port}; listen [::]:{port}; location / {{{{ proxy_pass http://u{port}; proxy_bind {source};
    proxy_set_header Connection ""; {header} }}}} }}}}
""" for port, header, server, source in (
    (8001, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "10.77.30.1:80", APPEND),
    (8003, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "10.77.20.2:8102", APPEND),
    (8006, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "10.77.20.3:8103", APPEND),
    (8008, "", "10.77.30.1:80", PRESERVE),
    (8013, "", "10.77.30.1:80", OPAQUE),
    (8009, 'proxy_set_header X-Forwarded-For "";', "10.77.30.1:80", REMOVE),
    (8010, "proxy_set_header Forwarded $forwarded;", "10.77.30.1:80", APPEND),
    (8012, "proxy_set_header X-Real-IP $remote_addr;", "10.77.30.1:80", APPEND),
)) + "}}\n"

HOP_HAPROXY = """global
  tune.bufsize 131072
defaults
  timeout connect 2s
  timeout client 3s
  timeout server 3s
  timeout http-request 2s
  mode http
""" + "".join(f"""
frontend f{port}
  {mode}
  bind 0.0.0.0:{port}
  bind [::]:{port} v6only
  default_backend b{port}
backend b{port}
  {mode}
  {extra}
  server s {server} source {source}
""" for port, mode, extra, server, source in (
    (8002, "mode http", "option forwardfor", "10.77.30.1:80", HAPROXY),
    (8102, "mode http", "option forwardfor", "10.77.30.1:80", HAPROXY),
    (8004, "mode tcp", "", "10.77.30.1:81 send-proxy-v2", TCP),
    (8005, "mode tcp", "", "10.77.30.1:81 send-proxy", TCP),
    (8103, "mode tcp", "", "10.77.30.1:81 send-proxy-v2", TCP),
    (8007, "mode tcp", "", "10.77.30.1:81 send-proxy-v2", MISTAKEN),
    (8011, "mode http", "http-request add-header Forwarded for=%[src] if { src 0.0.0.0/0 }\n"
     '  http-request add-header Forwarded for=\\"[%[src]]\\" if !{ src 0.0.0.0/0 }', "10.77.30.1:80", HAPROXY),
))


class Scene(Bed):
    def __init__(self, agent):
        super().__init__(agent, rules=RULE, keep_on_stop=False, extra=CONF)
        self.hop, self.switch = self.prefix + "h", self.prefix + "w"
        self.spaces += [self.hop, self.switch]
        self.base = open(self.conf, encoding="utf-8").read()
        self.hops = []

    # --- the scene ---

    def plug(self, ns, index, *addresses):
        self.must("ip", "link", "add", f"p{index}", "netns", self.switch, "type", "veth", "peer", "name", "eth0", "netns", ns)
        self.must("ip", "-n", self.switch, "link", "set", f"p{index}", "master", "br0", "up")
        for a in addresses:
            self.must("ip", "-n", ns, "addr", "add", a, "dev", "eth0", *(["nodad"] if ":" in a else []))
        for dev in ("eth0", "lo"):
            self.must("ip", "-n", ns, "link", "set", dev, "up")

    def build(self):
        self.must("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        self.must("ip", "-n", self.switch, "link", "set", "br0", "up")
        self.plug(self.server, 1, "10.77.30.1/16", "fd77::30:1/64")
        self.plug(self.attacker, 2, "10.77.2.2/16", *(f"fd77::a:{t.index:x}/64" for t in Topology.made))
        self.plug(self.hop, 4, *(f"10.77.20.{i}/16" for i in range(1, 8)), "fd77::20:1/64")
        self.must("ip", "-n", self.attacker, "route", "add", "local", "10.77.64.0/18", "dev", "lo")
        for ns in (self.server, self.hop):  # one neighbour, not thousands
            self.must("ip", "-n", ns, "route", "add", "10.77.64.0/18", "via", "10.77.2.2")
        self.plug(self.visitor, 3, f"{VICTIM}/16", f"{VICTIM6}/64")
        self.start_nginx()

    def start_nginx(self):
        os.mkdir(self.path("www"))
        with open(self.path("www/index.html"), "w", encoding="utf-8") as f:
            f.write("<html><body>Hello from behind the gate.</body></html>\n")
        self.nginx_pid = self.start_one(self.server, "nginx", SERVER_NGINX)
        self.hops.append(self.start_one(self.hop, "hop", HOP_NGINX))
        with open(self.path("haproxy.cfg"), "w", encoding="utf-8") as f:
            f.write(HOP_HAPROXY)
        done = self.sh(self.hop, "haproxy", "-D", "-f", self.path("haproxy.cfg"), "-p", self.path("haproxy.pid"))
        if done.returncode:
            raise RuntimeError("HAProxy does not start: " + done.stderr)
        self.hops += [int(p) for p in open(self.path("haproxy.pid"), encoding="ascii").read().split()]

    def start_one(self, ns, name, text):
        conf, pid = self.path(f"{name}.conf"), self.path(f"{name}.pid")
        with open(conf, "w", encoding="utf-8") as f:
            f.write((NGINX_HEAD + text).format(dir=self.dir, name=name))
        done = self.sh(ns, "nginx", "-c", conf, "-e", self.path(f"{name}.log"))
        if done.returncode or wait_until(lambda: os.path.exists(pid)) is None:
            raise RuntimeError("nginx does not start: " + done.stderr)
        return int(open(pid, encoding="ascii").read())

    def __exit__(self, *what):
        for pid in self.hops:
            try:
                os.kill(pid, 15)
            except ProcessLookupError:
                pass
        super().__exit__(*what)

    # --- the agent ---

    def configure(self, name, header, http, proxy, opaque):
        eve = self.path(f"log/eve{name}.json")
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(self.base.replace(self.eve_path, eve) +
                    f"proxies:\n  http: [{', '.join(http)}]\n  proxy-protocol: [{', '.join(proxy)}]\n"
                    f"  opaque: [{', '.join(opaque)}]\n  header: {header}\n")
        self.base, self.eve_path = self.base.replace(self.eve_path, eve), eve

    def seen(self):
        """What the server has logged: {URI: [peer, PROXY address, X-Forwarded-For, Forwarded, X-Real-IP]}."""
        out = {}
        for line in open(self.path("seen.log"), encoding="utf-8", errors="replace"):
            fields = json.loads(line)
            out[fields[0]] = fields[1:]
        return out


# --- one run: one configuration of the agent, and the topologies for which it is right ---


def honest(topology):
    """(number, address, target) of clients that say nothing about themselves."""
    out = [(HONEST + i, topology.address(HONEST + i), topology.target) for i in range(HONEST_COUNT)]
    return out + [(HONEST6, f"fd77::a:{topology.index:x}", "fd77::30:1" if topology.target == SERVER else "fd77::20:1")]


def attack(bed, topology):
    """Sends everything; {number: statuses}."""
    sender, numbers = Sender(), []
    for f in FORGERIES:
        sender.add(topology.address(f.number), topology.target, topology.port,
                   topology.begin + f.bytes(topology.uri(f.number), WORDS))
        numbers.append(f.number)
    for n, address, target in honest(topology):
        request = f"GET {topology.uri(n)} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n"
        sender.add(address, target, topology.port, topology.begin + request.encode())
        numbers.append(n)
    return dict(zip(numbers, sender.run(bed.attacker)))


def visit(bed, topologies):
    """Ordinary requests of the one whom the forgeries name, on every way; the statuses."""
    sender = Sender()
    for t in topologies:
        for source, target in ((VICTIM, t.target), (VICTIM6, "fd77::30:1" if t.target == SERVER else "fd77::20:1")):
            sender.add(source, target, t.port, t.begin + b"GET /index.html HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
    return [a[:1] for a in sender.run(bed.visitor)]


def marks_of(uri):
    """Topology and number that a URI names."""
    found = re.search(r"\?t=(\d+)&n=(\d+)&", uri)
    return (int(found[1]), int(found[2])) if found else (-1, -1)


def marks(record):
    return marks_of(record.get("http", {}).get("url", ""))


def settled(bed, topologies):
    """Alerts, when all of the honest clients have theirs and no more come."""
    wanted, last = {(t.index, n) for t in topologies for n, _, _ in honest(t)}, -1
    end = time.monotonic() + 10
    while True:
        alerts = bed.eve("alert")
        if time.monotonic() > end or (wanted <= {marks(a) for a in alerts} and len(alerts) == last):
            return alerts
        last = len(alerts)
        time.sleep(0.5)


def unserved(bed, doubts):
    """
    Of alerts without a proven client, those whose request nobody served: a hop's connection carries many clients, and
    when one of them is blocked, the guard destroys it, with whatever request is on its way just then. Its hop sends
    that one again on another connection, and there its client is proven.
    """
    reset = {r["flow_id"] for r in bed.eve("flow") if r.get("tcp", {}).get("rst")}
    answered = {(r["flow_id"], r["tx_id"]) for r in bed.eve("http") if "status" in r["http"]}
    return [a for a in doubts if a["flow_id"] in reset and (a["flow_id"], a["tx_id"]) not in answered]


def judge(t, topology, answers, alerts, blocked, seen, gaps, doubts):
    mine = [(marks(a)[1], a) for a in alerts if marks(a)[0] == topology.index]
    sent = {f.number: topology.address(f.number) for f in FORGERIES}
    sent.update({n: address for n, address, _ in honest(topology)})
    ours, known, wrong, hidden = set(sent.values()), set(), [], []
    for n, a in mine:
        client = str(ipaddress.ip_address(a["src_ip"])) if topology.expect == "direct" else a.get("xff")
        if client is None:
            hidden.append((n, a.get("identity", {}).get("why"), a))
        elif client == sent[n]:
            known.add(client)
        else:
            wrong.append((n, client))
    hops = [b for b in blocked if b.startswith("10.77.20.") or b.startswith("fd77::20:")]
    here = blocked & ours
    print(f"     {topology.name}: {len(FORGERIES)} forgeries sent, {sum(1 for f in FORGERIES if answers[f.number])} answered, "
          f"{len(mine)} alerts ({len(hidden)} unproven), {len(here)} blocks of the attacker, {len(wrong)} wrong clients, "
          f"{len(hops)} blocks of a hop")
    TOTAL.update(forgeries=len(FORGERIES), alerts=len(mine), unproven=len(hidden), blocks=len(here), wrong=len(wrong))
    reached = {marks_of(uri)[1] for uri in seen if marks_of(uri)[0] == topology.index}
    t.check(f"{topology.name}: most forgeries reach the server", len(reached) > len(FORGERIES) * 3 // 4, len(reached))
    t.check(f"{topology.name}: and whatever reaches it is found", reached <= {n for n, _ in mine}, reached - {n for n, _ in mine})
    t.check(f"{topology.name}: no alert names anybody but its sender", not wrong, wrong[:10])
    honest_seen = [seen.get(topology.uri(n)) for n, _, _ in honest(topology)]
    want = [topology.seen_of(c) for _, c, _ in honest(topology)]
    t.check(f"{topology.name}: the server sees clients as this way shows them", honest_seen == want, (honest_seen, want))
    if topology.expect == "unproven":
        t.check(f"{topology.name}: nobody can be proven", not known and len(hidden) == len(mine), known)
        t.check(f"{topology.name}: nobody is blocked", not here, here)
        t.check(f"{topology.name}: honest clients are alerted", {n for n, _, _ in honest(topology)} <= {n for n, _ in mine})
    else:
        t.check(f"{topology.name}: whoever is proven is blocked, and nobody else", here == known, here ^ known)
        t.check(f"{topology.name}: so is each honest client", {a for _, a, _ in honest(topology)} <= here)
        by_content = [x for x in hidden if x[0] >= HONEST or FORGERIES[x[0]].family not in ("whole", "forwarded")]
        if gaps:  # a busy machine: packets that capture missed prove nothing, as they should
            by_content = [x for x in by_content if "seen in part only" not in x[1]]
        framed = [x for x in by_content if "seen in part only" in x[1]]  # judged when the log is complete
        doubts += [a for _, _, a in framed]
        t.check(f"{topology.name}: no header hides its sender", len(framed) == len(by_content),
                [(n, why) for n, why, _ in by_content][:10])
    return ours


def run(bed, t, name, header, http, proxy, opaque, topologies):
    title = f"header {header}"
    bed.configure(name, header, http, proxy, opaque)
    if not t.check(f"{title}: the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
        return
    before = visit(bed, topologies)
    answers = {topology.index: attack(bed, topology) for topology in topologies}
    alerts = settled(bed, topologies)
    blocked = set(bed.elements() or {})
    seen, ours, doubts = bed.seen(), set(), []
    for topology in topologies:
        ours |= judge(t, topology, answers[topology.index], alerts, blocked, seen, bed.counter("tcp.reassembly_gap"), doubts)
    proxied = [line for line in bed.ctl("status").stdout.splitlines() if line.startswith("proxied ")]
    t.check(f"{title}: `status` tells how many clients could be proven", len(proxied) == 1 and
            f"{bed.counter('identity.proven')} requests with a proven client" in proxied[0], proxied)
    listed = {b["target"] for b in bed.blocks()}
    t.check(f"{title}: 0 blocks of anybody else", blocked <= ours, blocked - ours)
    t.check(f"{title}: the list of blocks is what the kernel has", listed == blocked, listed ^ blocked)
    asked = {b["block"]["target"] for b in bed.eve("block")}
    t.check(f"{title}: nor was anybody else ever blocked", asked <= ours, asked - ours)
    after = visit(bed, topologies)
    t.check(f"{title}: the victim is served before and after", before == after == [[200]] * len(before), (before, after))
    t.check(f"{title}: the agent ends", bed.stop_agent() == 0, bed.agent_log()[-300:])
    cut = unserved(bed, doubts)
    if cut:
        print(f"     header {header}: {len(cut)} alerts without a proven client are of requests that were cut with their connection")
    served = [marks(a) for a in doubts if a not in cut]
    t.check(f"{title}: no request that was served hides its sender by its framing", not served, served[:10])


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--only", help="the topologies whose name has this in it")
    args = ap.parse_args()
    t, began = Tally("live_identity"), time.monotonic()
    for program in ("nginx", "haproxy"):
        if not shutil.which(program):
            t.skip("live_identity", f"{program} is not installed")
            return t.end()
    with Scene(args.agent) as bed:
        for *settings, topologies in RUNS:
            some = [x for x in topologies if not args.only or args.only in x.name]
            if some:
                run(bed, t, *settings, some)
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    print("     in all: " + ", ".join(f"{n} {what}" for what, n in TOTAL.items()))
    print(f"     took {time.monotonic() - began:.0f} s")
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
