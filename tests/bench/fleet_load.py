#!/usr/bin/env python3
"""A manager under the load of a fleet: 5,000 agents (fleet_load.c) with a heartbeat every 30 s, a poll that waits, and
500 events a second in all. The manager has one core, the fleet another.

    fleet_load.py --manager build/release/manager/sekisho-manager [--agents N] [--seconds S] [--store WHERE] [--check]

Prints latencies, memory and time of the processor; --check: and whether they are within the targets."""
import argparse
import json
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "manager"))
from bed import Manager, Tally  # noqa: E402

RSS_MIB, CORES = 300, 1.0
TICK = os.sysconf("SC_CLK_TCK")


def build(folder):
    program = os.path.join(folder, "fleet_load")
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, os.path.join(HERE, "fleet_load.c"), "-lssl", "-lcrypto"],
                   check=True)
    return program


def pin(pid, core):
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def favour(pid, nice):
    """Against what else runs on the machine: each thread, and the session as a whole where the kernel weighs those."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.setpriority(os.PRIO_PROCESS, int(task), nice)
    try:
        with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as f:
            f.write(str(nice))
    except OSError:
        pass


def waited_s(pid):
    """How long its threads were ready and had no processor: with one core that is its own, they wait for each other."""
    return sum(int(open(f"/proc/{pid}/task/{t}/schedstat", encoding="ascii").read().split()[1])
               for t in os.listdir(f"/proc/{pid}/task")) / 1e9


def cpu_s(pid):
    words = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICK


def status_mib(pid, name):
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    return 0


class Watcher(threading.Thread):
    """What the manager takes while the fleet is measured."""

    def __init__(self, pid, fleet):
        super().__init__(daemon=True)
        self.pid, self.fleet, self.rss, self.lines = pid, fleet, [], []
        self.cpu = self.ramp_cpu = self.waited = 0

    def run(self):
        began, cpu = time.monotonic(), cpu_s(self.pid)
        for line in self.fleet.stderr:
            self.lines.append(line.strip())
            print("    " + line.strip(), flush=True)
            if line.startswith("enrolled"):
                print(f"    enrolling took {cpu_s(self.pid) - cpu:.1f} s of the processor", flush=True)
                began, cpu = time.monotonic(), cpu_s(self.pid)
            if line.startswith("connected"):
                self.ramp_cpu = (cpu_s(self.pid) - cpu) / (time.monotonic() - began)
                break
        began, cpu, waited = time.monotonic(), cpu_s(self.pid), waited_s(self.pid)
        while self.fleet.poll() is None:
            self.rss.append(status_mib(self.pid, "VmRSS"))
            self.cpu = (cpu_s(self.pid) - cpu) / max(time.monotonic() - began, 0.001)
            self.waited = (waited_s(self.pid) - waited) / max(time.monotonic() - began, 0.001)
            time.sleep(0.5)


def run_fleet(m, program, args):
    token = m.path("token")
    with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
        f.write(m.token("--uses", str(args.agents)))
    words = [program, "--connect", f"127.0.0.1:{m.port}", "--ca", m.ca_file, "--token", token]
    for name in ("agents", "events", "batch", "blocks", "ramp", "seconds"):
        words += [f"--{name}", str(getattr(args, name))]
    fleet = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        pid = m.running.process.pid
        if args.nice:
            for p in (pid, fleet.pid):
                favour(p, args.nice)
        pin(pid, args.core)
        pin(fleet.pid, args.fleet_core)
        w = Watcher(pid, fleet)
        w.start()
        out = fleet.stdout.read()
        fleet.wait(30)
        w.join(5)
        return json.loads(out) if fleet.returncode == 0 else None, w
    finally:
        if fleet.poll() is None:
            fleet.kill()
            fleet.wait()


def show(r, w):
    print(f"{r['agents']} agents, {r['connections']} connections, {r['seconds']:.0f} s; enrolled in {r['enrol_s']:.1f} s")
    for kind in ("enrol", "heartbeat", "events"):
        k = r[kind]
        if k["n"]:
            print(f"  {kind:10} {k['n']:7} requests  p50 {k['p50']:8.2f} ms  p99 {k['p99']:8.2f} ms  max {k['max']:8.2f} ms  "
                  f"errors {k['errors']}")
    print(f"  feed       {r['poll']['all']:7} answers   {r['news']} with news, {r['entries_seen']} entries; {r['blocks']} blocks sent")
    print(f"  statuses {r['statuses']}, connections made again {r['reconnects']}, lost requests {r['lost']}, "
          f"not sent {r['dropped']}")
    print(f"  manager: {max(w.rss):.0f} MiB resident at most, {100 * w.cpu:.0f} % of a core ({100 * w.ramp_cpu:.0f} % while the "
          f"fleet connects); its threads waited {100 * w.waited:.0f} % for it")


def judge(t, r, w, args):
    for kind in ("heartbeat", "events"):
        t.check(f"{kind}: p99 {r[kind]['p99']:.1f} ms, at most {args.p99:g}", r[kind]["n"] and r[kind]["p99"] <= args.p99)
    t.check(f"memory {max(w.rss):.0f} MiB, at most {RSS_MIB}", max(w.rss) <= RSS_MIB)
    t.check(f"{w.cpu:.2f} cores, less than {CORES}", w.cpu < CORES)
    errors = sum(r[k]["errors"] for k in ("enrol", "heartbeat", "events", "poll"))
    t.check("no errors, nothing lost, nothing left out", errors + r["lost"] + r["dropped"] == 0, r)
    per_s = r["events"]["n"] * args.batch / r["seconds"]
    t.check(f"{per_s:.0f} events a second", per_s > 0.98 * args.events)
    t.check("every agent has two connections", r["connections"] == 2 * r["agents"], r["connections"])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--manager", required=True)
    p.add_argument("--agents", type=int, default=5000)
    p.add_argument("--events", type=float, default=500)
    p.add_argument("--batch", type=int, default=10)
    p.add_argument("--blocks", type=float, default=0.2, help="new blocks a second, each told to all agents")
    p.add_argument("--ramp", type=int, default=60)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--store", help="default: SQLite")
    cores = sorted(os.sched_getaffinity(0))
    p.add_argument("--core", type=int, default=cores[0], help="the manager's")
    p.add_argument("--fleet-core", type=int, default=cores[1 % len(cores)])
    p.add_argument("--p99", type=float, default=100, help="ms, for --check")
    p.add_argument("--nice", type=int, default=0, help="of both; negative on a machine that others use")
    p.add_argument("--perf", help="record the manager with perf into this file while it is measured")
    p.add_argument("--check", action="store_true")
    args = p.parse_args()
    t = Tally("fleet_load")
    settings = f"limits:\n  connections: {args.agents * 2 + 2000}\n"
    with Manager(args.manager, store=args.store, settings=settings) as m:
        program = build(m.dir)
        m.init().start()
        perf = None
        if args.perf:
            perf = subprocess.Popen(["sh", "-c", f"sleep {args.ramp + 25}; exec perf record -q -g -F 499 -o {args.perf} "
                                     f"-p {m.running.process.pid} -- sleep 25"])
        r, w = run_fleet(m, program, args)
        if perf:
            perf.wait(60)
        if r is None:
            print("\n".join(w.lines) + "\n" + m.log()[-2000:])
            t.check("the fleet runs", False)
            return t.end()
        show(r, w)
        print("  files: " + ", ".join(f"{n} {os.path.getsize(os.path.join(m.state, n)) >> 20} MiB"
                                      for n in sorted(os.listdir(m.state)) if n.startswith("manager.db")))
        if args.check:
            judge(t, r, w, args)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
