#!/usr/bin/env python3
"""From attack to block and back, on the running kernel with real nginx and curl; see bed.py for the scene."""
import argparse
import os
import subprocess
import sys
import time

from bed import ATTACK, ATTACKER, SERVER_A, VISITOR, Bed, Tally, wait_until

RULE = ('drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"union select"; flow:established,to_server; http.uri; '
        'content:"union"; nocase; content:"select"; nocase; sid:1; rev:1; metadata: sekisho_block 10m;)\n')
NEW_RULE = ('alert http $EXTERNAL_NET any -> $HOME_NET any (msg:"new"; flow:established,to_server; http.uri; '
            'content:"/new-rule"; sid:2; rev:1;)\n')


def ordinary(bed, t):
    t.check("ordinary requests of both clients are answered",
            bed.fetch(bed.attacker, "/index.html") == 200 and bed.fetch(bed.visitor, "/index.html") == 200)
    t.check("so are they over IPv6", bed.fetch(bed.attacker, "/index.html", v6=True) == 200)
    t.check("nothing is blocked by that", bed.elements() == {}, bed.elements())
    t.check("the requests are in eve.json", wait_until(lambda: len(bed.eve("http")) >= 3) is not None)


def attack(bed, t):
    slow = subprocess.Popen(["ip", "netns", "exec", bed.attacker, "curl", "-s", "-o", bed.path("slow.out"),
                             f"http://{SERVER_A}/slow.bin"])
    wait_until(lambda: os.path.exists(bed.path("slow.out")) and os.path.getsize(bed.path("slow.out")) > 10000)
    bed.fetch(bed.attacker, ATTACK, 1)
    took = bed.wait_blocked(ATTACKER)
    t.check("the attacker is in the nftables set within a second", took is not None and took < 1, took)
    t.check("there is an alert in eve.json", wait_until(lambda: any(
        a["alert"]["signature_id"] == 1 and a["src_ip"] == ATTACKER for a in bed.eve("alert"))) is not None)
    t.check("the attacker's next connection fails", bed.fetch(bed.attacker, "/index.html", 1) is None)
    t.check("the visitor is served", bed.fetch(bed.visitor, "/index.html") == 200)
    time.sleep(1.5)
    before = os.path.getsize(bed.path("slow.out"))
    time.sleep(1.5)
    t.check("the attacker's open download stands still", os.path.getsize(bed.path("slow.out")) == before)
    slow.kill()
    slow.wait()


def slice_of(pid):
    """Nanoseconds that the scheduler lets it run at a time; None where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/sched", encoding="ascii") as f:
            return next((int(line.split(":")[1]) for line in f if line.startswith("se.slice")), None)
    except OSError:
        return None


def urgency(bed, t):
    pids = {r["name"]: r["pid"] for r in bed.status()["roles"]}
    nice = {name: os.getpriority(os.PRIO_PROCESS, pid) for name, pid in pids.items()}
    t.check("the reporter goes behind the server's own work, the engine does not", nice["reporter"] == nice["engine"] + 5, nice)
    if tuple(int(n) for n in os.uname().release.split(".")[:2]) >= (6, 12) and slice_of(os.getpid()):
        asked = [slice_of(pids["engine"]), slice_of(pids["guard"])]
        t.check("engine and guard ask for short slices, so that others do not keep them waiting", asked == [100000, 100000], asked)


def shown(bed, t):
    blocks = bed.blocks()
    t.check("`blocks` lists the one block", len(blocks) == 1 and blocks[0]["target"].startswith(ATTACKER), blocks)
    if not blocks:
        return
    block = blocks[0]
    t.check("with the rule's duration", 570 <= block["seconds_left"] <= 600, block["seconds_left"])
    text = bed.ctl("explain", block["id"]).stdout
    for what, word in (("rule", "union select"), ("evidence", "/index.html?id=1 UNION SELECT 1"), ("packet", ATTACKER), ("set", "block4")):
        t.check(f"`explain` names the {what}", word in text, text)
    status = bed.status()
    t.check("`status` counts the block", status["blocks"]["in_force"] == 1 and status["blocks"]["set"] == 1)
    t.check("the expiry in the kernel is the one that is shown",
            abs((bed.elements() or {}).get(ATTACKER, -99) - block["seconds_left"]) <= 2, bed.elements())
    done = bed.ctl("unblock", block["id"])
    t.check("`unblock` by ID succeeds", done.returncode == 0, done.stderr)
    t.check("and the attacker is served again", bed.fetch(bed.attacker, "/index.html") == 200)
    done = bed.ctl("explain", block["id"])
    t.check("a block that has ended is still explained", done.returncode == 0 and "union select" in done.stdout, done.stderr)
    done = bed.ctl("unblock", block["id"])
    t.check("unblocking twice names the block that is not there", done.returncode == 1 and block["id"] in done.stderr, done.stderr)
    done = bed.ctl("unblock", VISITOR)
    t.check("or the address", done.returncode == 1 and f"{VISITOR} is not blocked" in done.stderr, done.stderr)
    done = bed.ctl("explain", VISITOR)
    t.check("and an address that never was is told where to look", done.returncode == 1 and "EVE log" in done.stderr, done.stderr)


def by_hand(bed, t):
    done = bed.ctl("block", VISITOR, "--for", "2s", "--reason", "test of expiry")
    t.check("`block` by hand", done.returncode == 0 and VISITOR in (bed.elements() or {}), done.stderr)
    t.check("holds", bed.fetch(bed.visitor, "/index.html", 1) is None)
    t.check("and expires", wait_until(lambda: bed.fetch(bed.visitor, "/index.html", 1) == 200, 6) is not None)
    t.check("from the list as well", wait_until(lambda: bed.blocks() == []) is not None, bed.blocks())
    for addr in (SERVER_A, "169.254.169.254", "127.0.0.1", "0.0.0.0/0"):
        done = bed.ctl("block", addr)
        t.check(f"{addr} is never blocked", done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr)
    done = bed.ctl("block", "192.0.2.0/24", "--for", "1m")
    t.check("a filter that nothing fits does not say that nobody is blocked",
            bed.ctl("blocks", "--match", "nobody").stdout == "no block fits\n")
    t.check("a network can be blocked", done.returncode == 0 and any("192.0.2.0" in e for e in bed.elements()), bed.elements())
    t.check("and unblocked", bed.ctl("unblock", "192.0.2.0/24").returncode == 0 and bed.elements() == {}, bed.elements())


def ipv6(bed, t):
    bed.fetch(bed.attacker, ATTACK, 1, v6=True)
    t.check("an attack over IPv6 blocks the IPv6 address", bed.wait_blocked("fd77:1::2") is not None, bed.elements())
    t.check("which then gets no answer", bed.fetch(bed.attacker, "/index.html", 1, v6=True) is None)
    t.check("while IPv4 is served", bed.fetch(bed.attacker, "/index.html") == 200)


def flushed(bed, t):
    bed.sh(bed.server, "nft", "flush", "ruleset")
    took = bed.wait_blocked("fd77:1::2", 5)
    t.check("after `nft flush ruleset` table and elements are back within a second", took is not None and took < 1, took)
    t.check("and status counts that", wait_until(lambda: bed.status()["blocks"]["nft_rebuilds"] > 0) is not None)
    t.check("and the block holds", bed.fetch(bed.attacker, "/index.html", 1, v6=True) is None)
    bed.ctl("unblock", "fd77:1::2")


def reload(bed, t):
    with open(bed.rules, "a", encoding="utf-8") as f:
        f.write('alert tcp any any -> any any (msg:"broken"; kontent:"x"; sid:3;)\n')
    done = bed.ctl("reload", timeout=60)
    t.check("`reload` with a bad rule fails and says where", done.returncode == 1 and ".rules:2:" in done.stderr,
            done.stdout + done.stderr)
    bed.fetch(bed.attacker, ATTACK, 1)
    t.check("and the old rules stay in force", bed.wait_blocked(ATTACKER) is not None)
    bed.ctl("unblock", ATTACKER)
    with open(bed.rules, "w", encoding="utf-8") as f:
        f.write(RULE + NEW_RULE)
    done = bed.ctl("reload", timeout=60)
    t.check("`reload` with a new rule succeeds", done.returncode == 0, done.stderr)
    bed.fetch(bed.attacker, "/new-rule")
    with open(bed.conf, encoding="utf-8") as f:
        before = f.read()
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(before.replace("ring-size: 16mb", "ring-size: 8mb"))
    done = bed.ctl("reload", timeout=60)
    t.check("`reload` says what waits for the next start", done.returncode == 0 and
            done.stderr == "sekisho: capture.ring-size changes with the next start\n", done.stderr)
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(before)
    t.check("and nothing when it is taken back", bed.ctl("reload", timeout=60).stderr == "")
    t.check("and it is in force", wait_until(lambda: any(
        a["alert"]["signature_id"] == 2 for a in bed.eve("alert"))) is not None)
    with open(bed.conf, "a", encoding="utf-8") as f:
        f.write("stream:\n  memcup: 1mb\n")
    done = bed.ctl("reload", timeout=60)
    t.check("`reload` with a mistake in the configuration fails", done.returncode == 1, done.stdout)
    t.check("and the agent goes on", bed.ready())
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(before)


def stop(bed, t):
    bed.ctl("block", VISITOR, "--for", "1m")
    t.check("SIGTERM ends the agent with 0", bed.stop_agent() == 0, bed.agent_log()[-300:])
    t.check("and leaves nothing in the kernel (keep-blocks-on-stop: no)", bed.elements() is None, bed.elements())
    t.check("nor its socket", not os.path.exists(bed.socket))
    t.check("and the visitor is served", bed.fetch(bed.visitor, "/index.html") == 200)
    t.check("it starts again", bed.start_agent(), bed.agent_log()[-300:])
    done = bed.ctl("stop")
    t.check("`stop` returns when the agent has ended", done.returncode == 0 and bed.process.poll() == 0, done.stderr)
    t.check("so that the next one can start at once", bed.start_agent(), bed.agent_log()[-300:])
    t.check("and end", bed.stop_agent() == 0)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_block")
    with Bed(ap.parse_args().agent, rules=RULE, keep_on_stop=False) as bed:
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            for step in (ordinary, urgency, attack, shown, by_hand, ipv6, flushed, reload, stop):
                step(bed, t)
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
