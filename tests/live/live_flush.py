#!/usr/bin/env python3
"""Somebody else changes nftables, again and again and under attack: rules and blocks come back within a second, each time, and
that is counted. And what is blocked stays blocked for connections that are open, over IPv6, and for what is forwarded.

    live_flush.py --agent PATH [--seconds 60]     for so long the ruleset is flushed once a second (12)
"""
import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time

import swarm
from bed import ATTACK, ATTACKER, SERVER_A, Bed, Tally, wait_until
from live_block import RULE
from nftables import DELTABLE, NEWRULE, NEWSETELEM, Netlink, elements, host_ends, messages, text_of

BACK = 1.0  # seconds
FIREWALL = """flush ruleset
table inet firewalld {
  chain input {
    type filter hook input priority 10; policy accept;
    ct state established,related accept
  }
}
"""
# What a container engine does through iptables-nft.
IPTABLES = (("-t", "nat", "-N", "DOCKER"), ("-t", "filter", "-N", "DOCKER-USER"),
            ("-t", "nat", "-A", "PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "DOCKER"),
            ("-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "-j", "MASQUERADE"),
            ("-t", "filter", "-A", "FORWARD", "-j", "DOCKER-USER"))
DOCKER = """table ip nat {
  chain DOCKER { }
  chain PREROUTING {
    type nat hook prerouting priority -100;
    jump DOCKER
  }
}
table ip filter {
  chain DOCKER { }
  chain FORWARD {
    type filter hook forward priority 0; policy accept;
    jump DOCKER
  }
}
"""
# A server that sends a little, and then a little more every tenth of a second.
SLOW = """
import socket
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); s.bind(("::", 8080)); s.listen()
import threading, time
def serve(c):
    try:
        while True:
            c.sendall(b"x" * 1000); time.sleep(0.1)
    except OSError:
        pass
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


class Attackers:
    """Addresses of their own in the attacker's namespace, each used once."""

    def __init__(self, bed):
        self.bed, self.next, self.blocked = bed, 10, []

    def attack(self):
        source = f"10.77.1.{self.next}"
        self.next += 1
        self.bed.must("ip", "-n", self.bed.attacker, "addr", "add", f"{source}/24", "dev", "eth0")
        self.bed.sh(self.bed.attacker, "curl", "-s", "-o", "/dev/null", "-m", "2", "--interface", source,
                    f"http://{SERVER_A}{ATTACK}")
        if wait_until(lambda: any(b["target"] == source for b in self.bed.blocks()), 3, 0.02) is not None:
            self.blocked.append(source)
        return source


def all_back(bed, who):
    """Seconds until the kernel has all of them again, or None."""
    return wait_until(lambda: set(who) <= set(bed.elements() or {}), 5, 0.005)


def nft(bed, text):
    done = subprocess.run(["ip", "netns", "exec", bed.server, "nft", "-f", "-"], input=text, text=True, capture_output=True,
                          check=False)
    return done.returncode == 0 or print(done.stderr)


def once_a_second(bed, t, who, seconds):
    before, times, missing = bed.status()["blocks"]["nft_rebuilds"], [], 0
    for _ in range(seconds):
        began = time.monotonic()
        who.attack()
        nft(bed, "flush ruleset\n")
        took = all_back(bed, who.blocked)
        missing += took is None
        times.append(took if took is not None else 99)
        time.sleep(max(0, 1 - (time.monotonic() - began)))
    times.sort()
    print(f"     {seconds} times: back after {times[len(times) // 2] * 1000:.0f} ms (median), {times[-1] * 1000:.0f} ms (worst)")
    t.check(f"`nft flush ruleset` once a second for {seconds} s under attack: back within a second each time",
            missing == 0 and times[-1] <= BACK, times[-3:])
    t.check("every attacker was blocked meanwhile", len(who.blocked) == seconds, (len(who.blocked), seconds))
    counted = bed.status()["blocks"]["nft_rebuilds"] - before
    t.check("status counts each flush", counted >= seconds, counted)
    t.check("and the block holds", bed.fetch(bed.attacker, "/index.html", 1) is not None and bed.sh(
        bed.attacker, "curl", "-s", "-m", "1", "--interface", who.blocked[0], f"http://{SERVER_A}/index.html").returncode != 0)


class Watch(threading.Thread):
    """Follows the table by notifications: when it was taken away, and how long it took until all that was in it was back."""

    def __init__(self, bed):
        super().__init__(daemon=True)
        self.link = Netlink(bed.server, listen=True)
        self.link.sock.settimeout(0.1)
        self.ending = threading.Event()
        self.known, self.missing, self.rules = set(), set(), 4
        self.gone_at, self.took = None, []

    def take(self, kind, body, now):
        if b"sekisho\0" not in body:
            return
        if kind == DELTABLE:
            self.gone_at, self.rules, self.missing = now, 0, set(self.known)
        elif kind == NEWRULE:
            self.rules += 1
        elif kind == NEWSETELEM:
            keys = {text_of(k) for k, _, _ in elements(body)}
            self.known |= keys
            self.missing -= keys
        if self.gone_at and self.rules >= 4 and not self.missing:
            self.took.append(now - self.gone_at)
            self.gone_at = None

    def run(self):
        while not self.ending.is_set():
            try:
                data = self.link.sock.recv(1 << 17)
            except TimeoutError:
                continue
            now = time.monotonic()
            for kind, _, body in messages(data):
                self.take(kind, body, now)

    def stop(self):
        self.ending.set()
        self.join()
        self.link.close()


def in_the_middle(bed, t, seconds):
    """Sixty new attackers a second: the ruleset goes while requests are on their way."""
    swarm.route(bed)
    watch, before = Watch(bed), bed.status()["blocks"]["nft_rebuilds"]
    watch.start()
    attackers = swarm.start(bed, 60 * seconds)
    flushed, begin = 0, time.monotonic()
    while attackers.poll() is None:
        time.sleep(max(0.0, begin + 1 + flushed - time.monotonic()))
        flushed += nft(bed, "flush ruleset\n") is True
    attackers.communicate()
    blocked = {swarm.address(i) for i in range(60 * seconds)}
    with contextlib.closing(Netlink(bed.server)) as link:
        wait_until(lambda: blocked <= set(host_ends(link) or {}), 5, 0.2)
        lost = blocked - set(host_ends(link) or {})
    wait_until(lambda: watch.gone_at is None, 5, 0.05)  # what the kernel has, the watch may not have read yet
    watch.stop()
    rebuilds, took = bed.status()["blocks"]["nft_rebuilds"] - before, sorted(watch.took)
    print(f"     flushed {flushed} times while {len(blocked)} attackers came: all back after "
          + (f"{took[len(took) // 2] * 1e3:.0f} ms (median), {took[-1] * 1e3:.0f} ms (worst)" if took else "never"))
    t.check("the same while attacks go on: within a second each time", len(took) == flushed and took[-1] <= BACK, (flushed, len(took), took[-3:]))
    t.check("counted exactly", rebuilds == flushed, (rebuilds, flushed))
    t.check("and no attacker is lost", not lost, (len(lost), sorted(lost)[:3]))


def iptables(bed, t):
    """Chains made, removed and made again: nothing of ours is touched."""
    def counts():
        return {k: bed.status()["blocks"][k] for k in ("nft_rebuilds", "nft_repairs", "nft_errors")}
    nft(bed, "delete table ip nat\ndelete table ip filter\n")  # of other_changes
    before, failed = counts(), []
    for _ in range(3):
        failed += [d.stderr for d in (bed.sh(bed.server, "iptables-nft", *w) for w in IPTABLES) if d.returncode]
        for table in ("nat", "filter"):
            bed.sh(bed.server, "iptables-nft", "-t", table, "-F")
            bed.sh(bed.server, "iptables-nft", "-t", table, "-X")
    t.check("iptables-nft chains come and go beside our table", not failed and counts() == before, (failed[:1], before, counts()))


CHANGES = (
    ("the table is deleted", "delete table inet sekisho\n"),
    ("its chain is deleted", "flush chain inet sekisho guard\ndelete chain inet sekisho guard\n"),
    ("its rules are flushed", "flush chain inet sekisho guard\n"),
    ("a set is emptied", "flush set inet sekisho block4\n"),
    ("a firewall is restarted", FIREWALL),
    ("containers' chains are made", DOCKER),
)


def other_changes(bed, t, who):
    for what, text in CHANGES:
        t.check(f"{what}: nft takes that", nft(bed, text))
        took = all_back(bed, who.blocked)
        t.check("  blocks are back within a second", took is not None and took <= BACK, took)
        rules = wait_until(lambda: bed.sh(bed.server, "nft", "list", "chain", "inet", "sekisho", "guard").stdout.count("drop") == 4,
                           BACK, 0.005)
        t.check("  and so are chain and rules", rules is not None)
    kept = bed.sh(bed.server, "nft", "list", "ruleset").stdout
    t.check("others' tables are left alone", "table inet firewalld" in kept and "chain DOCKER" in kept)
    nft(bed, "add element inet sekisho block4 { 192.0.2.77 timeout 1m }\n")
    nft(bed, f"add element inet sekisho block4 {{ {SERVER_A} timeout 1m }}\n")
    t.check("one of this host's own addresses does not stay", wait_until(
        lambda: SERVER_A not in (bed.elements() or {SERVER_A: 0}), 3) is not None)
    t.check("an element that somebody adds is shown among the blocks", wait_until(
        lambda: any(b["target"] == "192.0.2.77" and b["origin"] == "kernel" for b in bed.blocks()), 3) is not None)
    for element in list(bed.elements() or {}):
        if element.startswith("10.77.1."):
            nft(bed, f"delete element inet sekisho block4 {{ {element} }}\n")
            break
    t.check("one that somebody takes out comes back", all_back(bed, who.blocked) is not None)


def grows(path, seconds=1.0):
    size = os.path.getsize(path) if os.path.exists(path) else 0
    time.sleep(seconds)
    return os.path.exists(path) and os.path.getsize(path) > size


def open_connection(bed, t, what, url, target):
    out = bed.path("slow-" + what.replace(" ", "-"))
    curl = subprocess.Popen(["ip", "netns", "exec", bed.attacker, "curl", "-s", "-g", "-N", "-o", out, "--http0.9", url])
    try:
        t.check(f"{what}: a connection is open", wait_until(lambda: os.path.exists(out) and os.path.getsize(out) > 2000, 5) is not None)
        t.check("  and delivers", grows(out))
        done = bed.ctl("block", target, "--for", "1m")
        t.check("  the block is set", done.returncode == 0, done.stderr)
        time.sleep(1)  # what is on the way
        t.check("  it delivers no more", not grows(out, 2))
        bed.ctl("unblock", target)
    finally:
        curl.kill()
        curl.wait()


def open_connections(bed, t):
    """A third namespace behind the server, as a container is."""
    inner = bed.prefix + "c"
    servers = []
    try:
        bed.must("ip", "netns", "add", inner)
        bed.must("ip", "link", "add", bed.prefix + "i", "netns", bed.server, "type", "veth", "peer", "name", "eth0", "netns", inner)
        for ns, dev, last in ((bed.server, bed.prefix + "i", 1), (inner, "eth0", 2)):
            bed.must("ip", "-n", ns, "addr", "add", f"10.77.9.{last}/24", "dev", dev)
            bed.must("ip", "-n", ns, "addr", "add", f"fd77:9::{last}/64", "dev", dev, "nodad")
            bed.must("ip", "-n", ns, "link", "set", dev, "up")
        bed.must("ip", "-n", inner, "route", "add", "default", "via", "10.77.9.1")
        bed.must("ip", "-n", inner, "-6", "route", "add", "default", "via", "fd77:9::1")
        bed.must("ip", "-n", bed.attacker, "-6", "route", "add", "fd77:9::/64", "via", "fd77:1::1")
        bed.must("ip", "-n", bed.attacker, "route", "add", "10.77.9.0/24", "via", SERVER_A)
        bed.sh(bed.server, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for ns in (bed.server, inner):
            servers.append(subprocess.Popen(["ip", "netns", "exec", ns, sys.executable, "-c", SLOW]))
        time.sleep(0.5)
        open_connection(bed, t, "IPv4", f"http://{SERVER_A}:8080/", ATTACKER)
        open_connection(bed, t, "IPv6", "http://[fd77:1::1]:8080/", "fd77:1::2")
        open_connection(bed, t, "forwarded", "http://10.77.9.2:8080/", ATTACKER)
        open_connection(bed, t, "forwarded IPv6", "http://[fd77:9::2]:8080/", "fd77:1::2")
    finally:
        for s in servers:
            s.kill()
            s.wait()
        bed.sh(None, "ip", "netns", "del", inner)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--seconds", type=int, default=12)
    args = ap.parse_args()
    t = Tally("live_flush")
    with Bed(args.agent, rules=RULE, keep_on_stop=False, extra=swarm.UNBRAKED) as bed:
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            who = Attackers(bed)
            once_a_second(bed, t, who, min(args.seconds, 200))
            other_changes(bed, t, who)
            iptables(bed, t)
            open_connections(bed, t)
            in_the_middle(bed, t, max(1, min(args.seconds, 200) // 2))  # last: it makes the attacker a gateway, who is spared
            t.check("the agent stops with 0", bed.stop_agent() == 0, bed.agent_log()[-300:])
            t.check("and takes its table with it", bed.elements() is None)
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
