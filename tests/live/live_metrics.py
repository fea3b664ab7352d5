#!/usr/bin/env python3
"""Metrics: a scrape by curl, over TCP and a unix socket; what the page says; and that the exporter can hurt nobody."""
import argparse
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time

from bed import ATTACK, SERVER_A, Bed, Tally, wait_until
from live_block import RULE
from live_hostile import MAGIC, VERSION, Stolen, bare

GARBAGE, ASK = 14, 17  # ipc/message.h
PORT = 9469
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([0-9.eE+-]+|NaN|[+-]Inf)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def parse(text):
    """{(name, labels): value} of a page in the exposition format, version 0.0.4; ValueError where it is not one."""
    values, kinds, helped, current = {}, {}, set(), None
    if not text.endswith("\n"):
        raise ValueError("the last line does not end")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            if name in helped or len(line.split(" ", 3)) < 4:
                raise ValueError(line)
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if name in kinds or kind not in ("counter", "gauge"):
                raise ValueError(line)
            kinds[name] = kind
            current = name
            if (kind == "counter") != name.endswith("_total"):
                raise ValueError(line)
        else:
            m = SAMPLE.fullmatch(line)
            if not m or m.group(1) != current or current not in helped:
                raise ValueError(line)
            labels = LABEL.findall(m.group(2) or "")
            if LABEL.sub("", m.group(2) or "") != "" or (m.group(1), tuple(labels)) in values:
                raise ValueError(line)
            values[m.group(1), tuple(labels)] = float(m.group(3))
    return values


def curl(bed, *args, where=None, timeout=30):
    return bed.sh(where or bed.server, "curl", "-s", "-m", "20", *args, timeout=timeout)


def page(bed, *args):
    done = curl(bed, *args)
    try:
        return parse(done.stdout)
    except ValueError as e:
        print("     not a page of metrics:", e)
        return {}


def code(bed, *args, where=None):
    return curl(bed, "-o", "/dev/null", "-w", "%{http_code}", *args, where=where).stdout


def value(values, name, **labels):
    return values.get(("sekisho_" + name, tuple(sorted(labels.items()))))


URL = f"http://127.0.0.1:{PORT}/metrics"


def content(bed, t):
    t.check("status names four roles", len(bed.status()["roles"]) == 4, bed.status()["roles"])
    for _ in range(5):
        bed.fetch(bed.visitor, "/index.html")
    bed.fetch(bed.attacker, ATTACK, 1)
    bed.wait_blocked("10.77.1.2")
    for _ in range(10): # the attacker's packets go on to come; a page is up to a second old
        time.sleep(1.2)
        v, status = page(bed, URL), bed.status()
        p = status["ledger"]["packets"]
        if p["waiting"] == 0 and value(v, "packets_sent_total") == p["sent"]:
            break
    t.check("the page is valid", len(v) > 100, len(v))
    t.check("it says what status says", value(v, "packets_sent_total") == p["sent"] and
            value(v, "packets_total", **{"class": "inspected"}) == p["inspected"] and
            value(v, "blocks") == status["blocks"]["in_force"] == 1 and
            value(v, "detect_alert_total") == status["counters"]["detect.alert"], (p, value(v, "packets_sent_total")))
    t.check("all classes of packets are all packets", sum(n for (name, _), n in v.items() if name == "sekisho_packets_total") ==
            value(v, "packets_sent_total"))
    t.check("every role is up", all(value(v, "role_up", role=r) == 1 for r in ("guard", "engine", "reporter", "exporter")))
    if shutil.which("promtool"):  # a second opinion where it is at hand; this file has a parser of its own
        done = subprocess.run(["promtool", "check", "metrics"], input=curl(bed, URL).stdout, capture_output=True, text=True,
                              check=False)
        t.check("promtool agrees", done.returncode == 0, done.stderr + done.stdout)
    headers = curl(bed, "-D", "-", "-o", "/dev/null", URL).stdout
    t.check("the type is that of the format", "text/plain; version=0.0.4" in headers, headers)
    done = curl(bed, "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} ", URL, URL).stdout
    t.check("a connection serves several scrapes", done == "1 0 ", done)


def refusals(bed, t):
    base = f"http://127.0.0.1:{PORT}"
    for what, want, args in (("another page", "404", [base + "/"]), ("a page below", "404", [base + "/metrics/x"]),
                             ("POST", "405", ["-X", "POST", "-d", "x=1", URL]), ("HEAD", "405", ["-I", URL]),
                             ("DELETE", "405", ["-X", "DELETE", URL])):
        got = code(bed, *args)
        t.check(f"{what} is answered with {want}", got == want, got)
    got = code(bed, "-H", "X: " + "y" * 40000, URL)
    t.check("a head that is too long is refused", got in ("431", "413", "000"), got)
    t.check("nobody else can ask", code(bed, f"http://{SERVER_A}:{PORT}/metrics", where=bed.attacker) == "000")
    with open(bed.path("long"), "wb") as f:
        f.write(b"x" * 3000000)
    code(bed, "-X", "GET", "--data-binary", "@" + bed.path("long"), URL)
    t.check("after all that it is answered", code(bed, URL) == "200")


IDLE = """
import socket, sys, time
c = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(30)]
for s in c[:10]:
    s.sendall(b"GET /metr")
print("there", flush=True)
time.sleep(60)
"""


def idle_clients(bed, t):
    idle = subprocess.Popen(["ip", "netns", "exec", bed.server, "python3", "-c", IDLE, str(PORT)], stdout=subprocess.PIPE)
    idle.stdout.readline()
    began = time.monotonic()
    t.check("clients that say nothing hold it up for a while at most", code(bed, URL) == "200", time.monotonic() - began)
    print(f"     {time.monotonic() - began:.1f} s behind thirty of them")
    t.check("and the guard not at all", bed.ready())
    idle.kill()
    idle.wait()


def message(kind, body=b"\0\0\0\0"):
    return struct.pack("<IHHI", MAGIC, VERSION, kind, len(body)) + body


def replaced(bed, t, what, *messages):
    old, others = bed.role("exporter")["pid"], [bed.role(r)["pid"] for r in ("engine", "reporter")]
    with Stolen(old, 3) as exporter:
        try:
            exporter.send(*messages)
        except OSError:
            pass  # it is gone already
        took = wait_until(lambda: bed.role("exporter")["pid"] not in (0, old) and bed.ready(), 10)
    t.check(f"an exporter that sends {what} is replaced", took is not None, bed.agent_log()[-400:])
    t.check("and nobody else", [bed.role(r)["pid"] for r in ("engine", "reporter")] == others and bed.process.poll() is None)


def hostile(bed, t):
    pid = bare(bed, t, "exporter", ("socket:", "anon_inode:[eventpoll]"))
    os.kill(pid, signal.SIGKILL)
    t.check("an exporter that dies is back", wait_until(
        lambda: bed.role("exporter")["pid"] not in (0, pid) and bed.ready(), 5) is not None)
    t.check("and serves", code(bed, URL) == "200")
    replaced(bed, t, "garbage", os.urandom(40))
    replaced(bed, t, "what only another role sends", message(GARBAGE, bytes(8)))
    replaced(bed, t, "one question after the other", *[message(ASK)] * 500)
    t.check("afterwards it serves", wait_until(lambda: code(bed, URL) == "200", 10) is not None)


def across_engines(bed, t):
    before = page(bed, URL)
    old = bed.role("engine")["pid"]
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: bed.role("engine")["pid"] not in (0, old) and bed.ready(), 10)
    bed.fetch(bed.visitor, "/index.html")
    time.sleep(1.5)
    after = page(bed, URL)
    back = {k: (before[k], after.get(k)) for k in before if k[0].endswith("_total") and after.get(k, -1) < before[k]}
    t.check("no counter goes back when the engine dies", before and not back, back)
    t.check("its restart is counted", value(after, "role_restarts_total", role="engine") == 1)


def port_taken(bed, t):
    taken = subprocess.Popen(["ip", "netns", "exec", bed.server, "python3", "-c",
                              f"import socket, time; s = socket.create_server(('127.0.0.1', {PORT})); "
                              "print('there', flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
    taken.stdout.readline()
    bed.process = None
    started = bed.start_agent("--set", f"metrics.listen=127.0.0.1:{PORT}", wait=4)
    t.check("an agent whose port is taken works all the same, and says so", not started and
            bed.role("engine")["state"] == "working" and "metrics cannot be served" in bed.agent_log(), bed.agent_log()[-300:])
    taken.kill()
    taken.wait()
    t.check("and serves when it is free", wait_until(lambda: code(bed, URL) == "200", 15, 0.5) is not None)
    t.check("the agent ends with 0", bed.stop_agent() == 0)


def unix_socket(bed, t):
    path = bed.path("metrics.sock")
    if not t.check("an agent with a unix socket starts", bed.start_agent("--set", f"metrics.listen={path}"),
                   bed.agent_log()[-300:]):
        return
    t.check("it is not for everybody", stat.S_IMODE(os.stat(path).st_mode) == 0o660)
    v = page(bed, "--unix-socket", path, "http://agent/metrics")
    t.check("a scrape over it", value(v, "role_up", role="exporter") == 1, len(v))
    with open(bed.conf, "a", encoding="utf-8") as f:
        f.write("decide: {max-blocks: 5000}\n")
    t.check("a reload", bed.ctl("reload", timeout=60).returncode == 0)
    t.check("leaves it", code(bed, "--unix-socket", path, "http://agent/metrics") == "200")
    t.check("the agent ends with 0", bed.stop_agent() == 0)
    t.check("and takes its socket along", not os.path.exists(path))


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_metrics")
    os.environ["SEKISHO_SECRET"] = "of whoever starts the agent"
    with Bed(ap.parse_args().agent, rules=RULE, keep_on_stop=False) as bed:
        if t.check("the agent starts", bed.start_agent("--set", f"metrics.listen=127.0.0.1:{PORT}"), bed.agent_log()[-600:]):
            for step in (content, refusals, across_engines, idle_clients, hostile):
                step(bed, t)
            t.check("the agent ends with 0", bed.stop_agent() == 0)
        port_taken(bed, t)
        unix_socket(bed, t)
        log = bed.agent_log()
        t.check("no sanitizer has anything to say", "Sanitizer" not in log and "runtime error" not in log, log[-2000:])
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
