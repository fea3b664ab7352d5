#!/usr/bin/env python3
"""What did you miss? Packets on the interfaces = packets inspected + the ledger, exactly, whatever happens meanwhile.

The interfaces' own counters are read when nothing goes over the wire. Offloads are off, so that a frame is a frame.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

from bed import SERVER_V, Bed, Tally, wait_until
from live_block import RULE

RULES = RULE + 'pass http any any -> any any (msg:"ours"; http.uri; content:"/pass-me"; sid:900;)\n' \
    'alert http any any -> any any (msg:"body"; file.data; content:"EVIL-MARKER"; sid:901;)\n'

# All at once, whatever else runs: the kernel hands over a block of the ring that is not full after some time.
FLOOD = """
import os, socket, sys
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[2])):
    s.sendto(b"x" * int(sys.argv[3]), (sys.argv[1], 9))
"""

# What a TLS connection looks like from outside: hello, change of cipher, data.
HELLO = "16030100 2f 0100002b 0303 " + "41" * 32 + " 00 0002 1301 01000000"
TLS_SERVER = """
import socket
s = socket.create_server(("0.0.0.0", 4433))
print("there", flush=True)
c = s.accept()[0]
for answer in ("160303000402000000", "140303000101"):
    c.recv(4096)
    c.sendall(bytes.fromhex(answer))
for i in range(20):
    c.recv(4096)
    c.sendall(bytes.fromhex("1703030004") + b"data")
c.close()
"""
TLS_CLIENT = f"""
import socket, sys
c = socket.create_connection((sys.argv[1], 4433))
for part in ("{HELLO}", "140303000101"):
    c.sendall(bytes.fromhex(part))
    c.recv(4096)
for i in range(20):
    c.sendall(bytes.fromhex("1703030004") + b"data")
    c.recv(4096)
c.close()
"""


def wire(bed):
    links = json.loads(bed.sh(None, "ip", "-n", bed.server, "-s", "-j", "link").stdout)
    return sum(x["stats64"][way]["packets"] for x in links if x["ifname"].startswith("eth") for way in ("rx", "tx"))


def offloads_off(bed):
    for ns, dev in ((bed.server, "eth1"), (bed.server, "eth2"), (bed.attacker, "eth0"), (bed.visitor, "eth0")):
        bed.sh(ns, "ethtool", "-K", dev, "gro", "off", "gso", "off", "tso", "off", "tx", "off")


def flat(ledger):
    p = ledger["packets"]
    return dict(p["causes"], sent=p["sent"], inspected=p["inspected"], waiting=p["waiting"])


def settle(bed):
    """(packets of the interfaces, the ledger), at a moment at which nothing goes over the wire and nothing waits."""
    for _ in range(60):
        before = wire(bed)
        time.sleep(0.5)
        status = bed.status()
        if status and wire(bed) == before and status["ledger"]["packets"]["waiting"] == 0:
            return before, flat(status["ledger"])
    print("     it never comes to rest:", json.dumps((bed.status() or {}).get("ledger")))
    return wire(bed), flat(bed.status()["ledger"])


def nonzero(d):
    return {k: v for k, v in d.items() if v and k not in ("sent", "inspected", "waiting")}


class Balance:
    """The account of one step: what came since the last one, and what became of it."""

    def __init__(self, bed, t):
        self.bed, self.t = bed, t
        self.wire, self.book = settle(bed)

    def check(self, step, wire_known=True):
        now, book = settle(self.bed)
        new = {k: book[k] - self.book[k] for k in book}
        causes = nonzero(new)
        print(f"     {step}: {now - self.wire} on the interfaces, {new['sent']} came, {new['inspected']} inspected, not: {causes}")
        if wire_known:
            self.t.check(f"{step}: what the interfaces carried came", new["sent"] == now - self.wire, (new, now - self.wire))
        self.t.check(f"{step}: inspected + ledger = sent, and nothing waits", new["waiting"] == 0 == book["waiting"] and
                     new["inspected"] + sum(causes.values()) == new["sent"], new)
        self.t.check(f"{step}: nothing is taken back", all(v >= 0 for v in new.values()), new)
        self.wire, self.book = now, book
        return new


def load(bed, seconds):
    return subprocess.Popen(["ip", "netns", "exec", bed.visitor, "wrk", "-t1", "-c20", f"-d{seconds}",
                             f"http://{SERVER_V}/index.html"], stdout=subprocess.PIPE, text=True)


class Flood:
    """Stands ready until it is let loose."""

    def __init__(self, bed, packets, size=600):
        self.p = subprocess.Popen(["ip", "netns", "exec", bed.visitor, "python3", "-c", FLOOD, SERVER_V, str(packets), str(size)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.p.stdout.readline()

    def go(self):
        self.p.communicate(b"\n")


def flood(bed, packets, size=600):
    Flood(bed, packets, size).go()


def flows(bed):
    return bed.status()["ledger"]["flows"]


def flows_add_up(bed, t, step):
    f = flows(bed)
    t.check(f"{step}: flows add up", f["begun"] == f["inspected"] + f["active"] + sum(f["causes"].values()), f)


# --- steps ---

def plain(bed, t, b):
    for _ in range(20):
        bed.fetch(bed.visitor, "/index.html")
    new = b.check("requests")
    t.check("requests: nothing but what is not IP was passed over", set(nonzero(new)) <= {"non_ip"}, new)
    shown = bed.ctl("status").stdout
    t.check("status shows it", " came, " in shown and ("inspected (" in shown or "everything was inspected" in shown), shown)


def bypassed(bed, t, b):
    bed.sh(bed.visitor, "curl", "-s", "-o", "/dev/null", f"http://{SERVER_V}/pass-me")
    server = subprocess.Popen(["ip", "netns", "exec", bed.server, "python3", "-c", TLS_SERVER], stdout=subprocess.PIPE)
    server.stdout.readline()
    bed.sh(bed.visitor, "python3", "-c", TLS_CLIENT, SERVER_V)
    server.wait(10)
    new = b.check("a pass rule and TLS")
    t.check("encrypted data and a passed flow are named", new["encrypted"] >= 40 and new["passed"] >= 3, new)
    bed.sh(bed.visitor, "curl", "-s", "-o", "/dev/null", "-m", "2", f"http://{SERVER_V}/slow.bin")
    new = b.check("a long body")
    t.check("its part past the limit is named", new["body_limit"] > 0, new)


class Still:
    """The engine stands still meanwhile."""

    def __init__(self, bed):
        self.pid = bed.role("engine")["pid"]

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        try:
            os.kill(self.pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # it was killed


def ring_full(bed, t, b):
    with Still(bed):
        flood(bed, 8000)
    new = b.check("an engine that stands still")
    t.check("the ring was full, and that is said", new["ring_drop"] > 1000, new)
    t.check("kernel drops of the workers agree", sum(w["kernel_drops"] for w in bed.status()["workers"]) == b.book["ring_drop"] +
            b.book["engine_down"] + b.book["reload"])


def kill_engine(bed):
    old = bed.role("engine")["pid"]
    os.kill(old, signal.SIGKILL)
    return wait_until(lambda: bed.role("engine")["pid"] not in (0, old) and bed.role("engine")["state"] == "working", 20, 0.05)


def engine_dies(bed, t, b):
    began = flows(bed)["causes"]["engine_down"]
    traffic = load(bed, 6)
    for _ in range(4):
        time.sleep(0.7)
        t.check("another engine comes", kill_engine(bed) is not None)
    traffic.wait()
    new = b.check("kill -9 of the engine, four times, under load")
    f = flows(bed)["causes"]
    t.check("its flows are named", f["engine_down"] > began, f)
    flows_add_up(bed, t, "kill -9 of the engine")
    t.check("it was in use meanwhile", new["inspected"] > 1000, new)

    # Each death makes the wait before the next start longer: by now there is time for a flood without an engine.
    old, many = bed.role("engine")["pid"], Flood(bed, 12000)
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: bed.role("engine")["pid"] != old, 10, 0.01) # the guard knows
    many.go()
    wait_until(bed.ready, 30)
    new = b.check("a flood without an engine")
    t.check("what did not fit into the rings is named", new["engine_down"] > 1000, new)
    blind = bed.status()["ledger"]["blind_seconds"]
    print(f"     {blind} s without an engine")
    t.check("and the time without an engine is told", 0.5 < blind < 120, blind)


def reload_under_load(bed, t, b):
    began = flows(bed)["causes"]["reload"]
    traffic = load(bed, 6)
    time.sleep(0.5)
    text = open(bed.conf, encoding="utf-8").read()
    for i in range(3):
        with open(bed.conf, "w", encoding="utf-8") as f: # makes another engine: flows lose their state
            f.write(text + f"http:\n  max-tx: {100 + i}\n")
        done = bed.ctl("reload", timeout=60)
        t.check("a reload under load", done.returncode == 0, done.stderr)
    traffic.wait()
    b.check("reloads under load")
    f = flows(bed)["causes"]
    t.check("flows that it cut off are named", f["reload"] > began, f)
    flows_add_up(bed, t, "reloads")
    with Still(bed):
        waiting = subprocess.Popen([bed.agent, "reload", "--socket", bed.socket], stdout=subprocess.PIPE)
        time.sleep(0.5)
        flood(bed, 8000)
    waiting.communicate(timeout=60)
    new = b.check("a flood while rules are being loaded")
    t.check("what did not fit into the rings is put down to that", new["reload"] > 1000 and new["ring_drop"] == 0, new)


def interface_gone(bed, t):
    bed.sh(None, "ip", "-n", bed.server, "link", "del", "eth2")
    t.check("an interface that is gone is not watched",
            wait_until(lambda: bed.status()["interfaces"] == ["eth1"], 10) is not None)


def interface_back(bed, t, b):
    bed.link(bed.visitor, 2)
    offloads_off(bed)
    t.check("it comes back", wait_until(lambda: sorted(bed.status()["interfaces"]) == ["eth1", "eth2"], 20) is not None)
    time.sleep(3)
    b.wire, b.book = settle(bed)


def interface_goes(bed, t, b):
    """The counters of the interface go with it: what came is compared with what was sent."""
    with Still(bed):
        flood(bed, 300)
        interface_gone(bed, t)
    new = b.check("an interface that goes", wire_known=False)
    t.check("what was in its ring was still inspected", new["sent"] >= 300 and new["inspected"] >= 300, new)
    interface_back(bed, t, b)
    with Still(bed):
        flood(bed, 300)
        interface_gone(bed, t)
        os.kill(bed.role("engine")["pid"], signal.SIGKILL)
    wait_until(bed.ready, 30)
    new = b.check("an interface that goes, and the engine with it", wire_known=False)
    t.check("what was in its ring is named", new["interface_gone"] >= 300, new)
    interface_back(bed, t, b)
    for _ in range(5):
        bed.fetch(bed.visitor, "/index.html")
    b.check("the one that came back")


def last_stats(bed):
    stats = [e for e in bed.eve("stats")]
    return stats[-1]["stats"] if stats else {}


def stop(bed, t, what):
    t.check("the agent ends with 0", bed.stop_agent() == 0, bed.agent_log()[-300:])
    p = dict(last_stats(bed).get("ledger", {}).get("packets", {"sent": -1}))
    sent = p.pop("sent")
    print(f"     the last record, {what}: {sent} came, {p.pop('inspected')} inspected, not: {nonzero(p)}")
    p = dict(last_stats(bed).get("ledger", {}).get("packets", {"sent": -1}))
    sent = p.pop("sent")
    t.check(f"the last stats record adds up without a rest, {what}", sent > 0 and sum(p.values()) == sent, p)
    f = last_stats(bed).get("ledger", {}).get("flows", {})
    t.check(f"so do its flows, {what}", sum(f.values()) == last_stats(bed)["flow"]["total"], f)
    t.check("and the log says it", f"{sent} packets came" in bed.agent_log(), bed.agent_log()[-400:])
    return last_stats(bed)["ledger"]


def main_run(bed, t):
    if not t.check("the agent starts", bed.start_agent("--set", "capture.block-size=128kb", "--set", "capture.ring-size=1mb",
                                                       "--set", "capture.workers=2"), bed.agent_log()[-600:]):
        return
    b = Balance(bed, t)
    for step in (plain, bypassed, ring_full, engine_dies, reload_under_load, interface_goes):
        step(bed, t, b)
    traffic = load(bed, 3)
    time.sleep(1)
    last = stop(bed, t, "under load")
    traffic.wait()
    t.check("sessions that a new engine has picked up are named", last["flows"]["midstream"] > 0, last["flows"])


def cut_run(bed, t):
    """One worker: the kernel joins no fragments for it."""
    if not t.check("an agent that keeps 256 bytes of a frame starts", bed.start_agent(
            "--set", "capture.snaplen=256", "--set", "capture.workers=1"), bed.agent_log()[-600:]):
        return
    b = Balance(bed, t)
    for _ in range(10):
        bed.fetch(bed.visitor, "/index.html")
    new = b.check("a small snaplen")
    t.check("cut frames are named", new["truncated"] >= 10, new)
    stop(bed, t, "at rest")
    if not t.check("an agent with one worker starts", bed.start_agent("--set", "capture.workers=1"), bed.agent_log()[-600:]):
        return
    b = Balance(bed, t)
    flood(bed, 50, size=4000)
    new = b.check("fragments")
    t.check("those of whole datagrams are inspected", new["inspected"] >= 150 and new["fragment"] == 0, new)
    with Still(bed):
        flood(bed, 100)
        last = stop(bed, t, "with an engine that stands still")
    t.check("what was in the rings is named", last["packets"]["stopping"] >= 100, last["packets"])


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_ledger")
    with Bed(ap.parse_args().agent, rules=RULES) as bed:
        offloads_off(bed)
        main_run(bed, t)
        cut_run(bed, t)
        log = bed.agent_log()
        t.check("no sanitizer has anything to say", "Sanitizer" not in log and "runtime error" not in log, log[-2000:])
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
