#!/usr/bin/env python3
"""What happens when a role dies, under traffic: detection comes back, blocks stay, no connection is cut."""
import argparse
import os
import re
import signal
import subprocess
import sys
import time

from bed import ATTACK, ATTACKER, SERVER_V, Bed, Tally, wait_until
from live_block import RULE


def wrk(bed, seconds):
    return subprocess.Popen(["ip", "netns", "exec", bed.visitor, "wrk", "-t1", "-c20", f"-d{seconds}",
                             f"http://{SERVER_V}/index.html"], stdout=subprocess.PIPE, text=True)


def errors_of(report):
    return re.findall(r"Socket errors.*|Non-2xx.*", report)


def kill_role(bed, t, role, limit):
    old = bed.role(role)["pid"]
    os.kill(old, signal.SIGKILL)
    took = wait_until(lambda: bed.role(role)["pid"] not in (0, old) and bed.role(role)["state"] == "working", 10, 0.02)
    t.check(f"the {role} is back within a second after kill -9", took is not None and took < limit, took)
    return took is not None


def engine_dies(bed, t):
    bed.fetch(bed.attacker, ATTACK, 1)
    t.check("an attack is blocked", bed.wait_blocked(ATTACKER) is not None, bed.agent_log()[-300:])
    load = wrk(bed, 4)
    time.sleep(1)
    kill_role(bed, t, "engine", 1.0)
    t.check("blocks are still in force", ATTACKER in (bed.elements() or {}))
    report = load.communicate()[0]
    t.check("no connection was cut under load", not errors_of(report) and "requests in" in report, report[-300:])
    t.check("status counts the restart", bed.role("engine").get("restarts") == 1, bed.role("engine"))
    bed.ctl("unblock", ATTACKER)
    bed.fetch(bed.attacker, ATTACK, 1)
    t.check("the new engine finds the next attack", bed.wait_blocked(ATTACKER) is not None)


def reporter_dies(bed, t):
    kill_role(bed, t, "reporter", 1.0)
    bed.fetch(bed.visitor, "/index.html?after-restart")
    t.check("events are written again", wait_until(lambda: any(
        "after-restart" in e["http"].get("url", "") for e in bed.eve("http"))) is not None)


def guard_dies(bed, t):
    before = {b["id"]: b["expires"] for b in bed.blocks()}
    pids = [bed.role(r)["pid"] for r in ("engine", "reporter")]
    os.kill(bed.process.pid, signal.SIGKILL)
    bed.process.wait()
    gone = wait_until(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), 3)
    t.check("without the guard the other roles end", gone is not None)
    t.check("the block stays in the kernel", ATTACKER in (bed.elements() or {}), bed.elements())
    t.check("and holds", bed.fetch(bed.attacker, "/index.html", 1) is None)
    t.check("a new agent starts", bed.start_agent(), bed.agent_log()[-600:])
    t.check("with the same blocks and the same expiry", {b["id"]: b["expires"] for b in bed.blocks()} == before,
            (before, bed.blocks()))
    t.check("none twice in the kernel, none lost", list(bed.elements() or {}) == [ATTACKER], bed.elements())


def kernel_forgot(bed, t):
    """As after a reboot: the kernel is empty, the journal is not."""
    before = {b["id"]: b["expires"] for b in bed.blocks()}
    t.check("SIGTERM ends the agent with 0", bed.stop_agent() == 0)
    t.check("and with keep-blocks-on-stop its blocks stay", ATTACKER in (bed.elements() or {}), bed.elements())
    bed.sh(bed.server, "nft", "flush", "ruleset")
    t.check("a new agent starts on an empty kernel", bed.start_agent(), bed.agent_log()[-600:])
    t.check("and sets the blocks again with the same expiry", {b["id"]: b["expires"] for b in bed.blocks()} == before
            and bed.wait_blocked(ATTACKER) is not None, (before, bed.blocks()))
    done = bed.sh(bed.server, bed.agent, "run", "-c", bed.conf, timeout=20)
    t.check("a second agent refuses to start beside it and says why",
            done.returncode == 1 and "running already" in done.stderr, done.stderr)
    t.check("and does no harm", ATTACKER in (bed.elements() or {}) and bed.ready())


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_restart")
    with Bed(ap.parse_args().agent, rules=RULE) as bed:
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            for step in (engine_dies, reporter_dies, guard_dies, kernel_forgot):
                step(bed, t)
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
