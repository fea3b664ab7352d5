#!/usr/bin/env python3
"""Another program lies where that of a running agent was, as an upgrade leaves it: the agent stays what it is, says that a
restart is due, and `check --restart` whether it would start."""
import argparse
import os
import re
import shutil
import signal
import sys

from bed import ATTACK, ATTACKER, Bed, Tally, wait_until
from live_block import RULE


def roles(bed):
    return {r["name"]: r for r in (bed.status() or {}).get("roles", [])}


def file_of(pid):
    st = os.stat(f"/proc/{pid}/exe")
    return st.st_dev, st.st_ino


def check(bed, program, *words):
    return bed.sh(None, program, "check", *words)


def refusing(program, to):
    """The next version, which no longer knows a key."""
    with open(program, "rb") as f:
        text = f.read()
    with open(to, "wb") as f:
        f.write(text.replace(b"keep-blocks-on-stop", b"keep-blocks-on-halt"))
    os.chmod(to, 0o755)


def due(bed):
    return bed.status()["program_replaced"], "restart     IS DUE" in bed.ctl("status").stdout


def doctor(bed, program):
    done = bed.sh(bed.server, program, "doctor", "-c", bed.conf)
    return [line for line in done.stdout.splitlines() if re.match(r"\w+\s+restart\s", line)]


def replaced(bed, t, program):
    pid = bed.process.pid
    old = file_of(pid)
    t.check("a restart is not due", due(bed) == (False, False) and not doctor(bed, program), (due(bed), doctor(bed, program)))
    shutil.copy(program, program + ".new")
    os.rename(program + ".new", program)
    t.check("when another program lies there, status says that it is", due(bed) == (True, True), due(bed))
    t.check("and doctor", len(doctor(bed, program)) == 1 and doctor(bed, program)[0].startswith("warn"), doctor(bed, program))
    refusing(program, program + ".new")
    os.rename(program + ".new", program)
    t.check("so if it is one that would not start", due(bed) == (True, True), due(bed))
    done = check(bed, program, f"--restart={pid}")
    t.check("the other one would not start, with the place of the mistake", done.returncode == 1 and
            re.search(r"sekisho\.yaml:\d+:\d+: .*keep-blocks-on-stop", done.stderr) and "would not start" in done.stderr, done)
    before = roles(bed)
    os.kill(before["engine"]["pid"], signal.SIGKILL)
    os.kill(before["reporter"]["pid"], signal.SIGKILL)
    t.check("roles that die are started again", wait_until(lambda: bed.ready() and all(
        roles(bed)[n]["pid"] != before[n]["pid"] for n in ("engine", "reporter")), 20) is not None, (roles(bed), bed.agent_log()[-500:]))
    files = {n: file_of(r["pid"]) for n, r in roles(bed).items()}
    t.check("from the program that the agent is, and not the other one", set(files.values()) == {old} and
            (os.stat(program).st_dev, os.stat(program).st_ino) != old, files)
    bed.fetch(bed.attacker, ATTACK)
    t.check("they find an attack, and block it", bed.wait_blocked(ATTACKER) is not None, bed.agent_log()[-500:])
    return pid


def correct(bed, t, program, pid):
    """What the other one does not know is taken out; the agent that runs does not mind."""
    text = open(bed.conf, encoding="utf-8").read()
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(text.replace("  keep-blocks-on-stop: yes\n", ""))
    done = check(bed, program, f"--restart={pid}")
    t.check("corrected, it would start", done.returncode == 0 and re.search(r"would start: [1-9]\d* rules", done.stdout), done)
    done = check(bed, program, f"--restart={os.getpid()}")
    t.check("a process that is none is no agent", done.returncode == 1 and "is no `sekisho run`" in done.stderr, done)
    bed.stop_agent()
    t.check("the other one starts in its place, with that configuration", bed.start_agent(), bed.agent_log()[-800:])
    t.check("and a restart is not due any more", due(bed) == (False, False), due(bed))
    t.check("who is blocked is blocked", bed.wait_blocked(ATTACKER) is not None)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    args = p.parse_args()
    t = Tally("live_replaced")
    if os.geteuid() != 0:
        t.skip("live_replaced", "needs root for network namespaces")
        return t.end()
    with Bed(args.agent, RULE) as bed:
        bed.agent = bed.path("sekisho")
        shutil.copy(args.agent, bed.agent)
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()):
            pid = replaced(bed, t, bed.agent)
            correct(bed, t, bed.agent, pid)
    t.check("nothing is left behind", not bed.left_behind(), bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
