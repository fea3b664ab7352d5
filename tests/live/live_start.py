#!/usr/bin/env python3
"""The agent as a service: what it tells the service manager, interfaces that come late, time in which nobody watched, and
`stop --clear`."""
import argparse
import os
import signal
import socket
import sys
import threading
import time

from bed import ATTACK, ATTACKER, Bed, Tally, wait_until
from live_block import RULE


class Manager:
    """Hears what the agent tells a service manager."""

    def __init__(self, path):
        self.said = []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        os.chmod(path, 0o777)
        os.environ["NOTIFY_SOCKET"] = path
        os.environ["WATCHDOG_USEC"] = "2000000"

        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            self.said.append(self.sock.recv(4096).decode())

    def words(self):
        """First lines of all messages so far, without the watchdog's."""
        return [m.split("\n")[0] for m in self.said if not m.startswith("WATCHDOG")]

    @staticmethod
    def close():
        os.environ.pop("NOTIFY_SOCKET")
        os.environ.pop("WATCHDOG_USEC")


def starts(bed, t, manager):
    t.check("the agent starts, although an interface of its configuration is not there", bed.start_agent(),
            bed.agent_log()[-600:])
    t.check("and says so", "late0 is not there yet" in bed.agent_log(), bed.agent_log()[-600:])
    t.check("status names it", bed.status().get("interfaces_missing") == ["late0"], bed.status().get("interfaces_missing"))
    t.check("and for people too", "NOT THERE YET: late0" in bed.ctl("status").stdout, bed.ctl("status").stdout)
    t.check("READY=1 came, once", wait_until(lambda: manager.words() == ["READY=1"]) is not None, manager.words())
    t.check("the first start knows of no gap", bed.status()["ledger"]["unwatched_seconds"] == 0, bed.status()["ledger"])
    bed.must("ip", "-n", bed.server, "link", "add", "late0", "type", "veth", "peer", "name", "late1")
    bed.must("ip", "-n", bed.server, "link", "set", "late0", "up")
    t.check("it is watched as soon as it is there", wait_until(lambda: "late0" in bed.status()["interfaces"], 10) is not None,
            bed.status()["interfaces"])
    t.check("and missed no more", bed.status()["interfaces_missing"] == [], bed.status()["interfaces_missing"])


def typed(bed, t, _):
    done = bed.sh(bed.server, "env", "-u", "NOTIFY_SOCKET", bed.agent, "run", "-c", bed.conf, "-i", "late9", timeout=20)
    t.check("an interface that was typed must be there", done.returncode == 1 and "late9" in done.stderr, done.stderr)


def reloads(bed, t, manager):
    before = len(manager.words())
    done = bed.ctl("reload")
    t.check("a reload by hand is one for the service manager too", wait_until(
        lambda: manager.words()[before:] == ["RELOADING=1", "READY=1"]) is not None, (done.stderr, manager.words()))
    whole = [m for m in manager.said if m.startswith("RELOADING=1")][-1]
    t.check("with the time at which it began", "MONOTONIC_USEC=" in whole, whole)
    with open(bed.rules, "a", encoding="utf-8") as f:
        f.write("alert nonsense\n")
    before = len(manager.words())
    bed.process.send_signal(signal.SIGHUP)
    t.check("one that comes to nothing ends as well", wait_until(
        lambda: manager.words()[before:][:1] == ["RELOADING=1"] and manager.words()[-1] == "READY=1", 10) is not None,
        manager.words())
    with open(bed.rules, "w", encoding="utf-8") as f:
        f.write(RULE)
    t.check("the watchdog is fed", wait_until(
        lambda: any(m.startswith("WATCHDOG=1") for m in manager.said), 5) is not None, manager.said)


def gap(bed, t, manager):
    bed.fetch(bed.attacker, ATTACK, 1)
    t.check("an attack is blocked", bed.wait_blocked(ATTACKER) is not None, bed.agent_log()[-300:])
    t.check("SIGTERM ends the agent", bed.stop_agent() == 0)
    t.check("which it said before", wait_until(lambda: manager.words()[-1] == "STOPPING=1") is not None, manager.words())
    time.sleep(2)
    t.check("it starts again", bed.start_agent(), bed.agent_log()[-600:])
    seconds = bed.status()["ledger"]["unwatched_seconds"]
    t.check("and tells for how long nobody watched", 2 <= seconds < 30, seconds)
    t.check("for people too", f"unwatched   {seconds:.2f} s"[:-4] in bed.ctl("status").stdout, bed.ctl("status").stdout)
    os.kill(bed.process.pid, signal.SIGKILL)
    bed.process.wait()
    t.check("and again after a kill", bed.start_agent(), bed.agent_log()[-600:])
    seconds = bed.status()["ledger"]["unwatched_seconds"]
    t.check("also then, to within the second in which it writes that down", 0 < seconds < 20, seconds)
    with open(bed.path("state/watched"), "w", encoding="ascii") as f:
        f.write("rubbish")
    os.kill(bed.process.pid, signal.SIGKILL)
    bed.process.wait()
    with open(bed.path("state/watched"), "w", encoding="ascii") as f:
        f.write("0" * 36 + " " + "1".zfill(20) + "\n")
    t.check("a file of another boot is no gap", bed.start_agent() and bed.status()["ledger"]["unwatched_seconds"] == 0,
            bed.agent_log()[-600:])


def clear(bed, t, _):
    def stop():
        return bed.sh(bed.server, bed.agent, "stop", "--clear", "--socket", bed.socket)

    before = {b["id"]: b["expires"] for b in bed.blocks()}
    done = stop()
    t.check("`stop --clear` ends the agent", done.returncode == 0 and bed.process.poll() == 0, done.stderr)
    t.check("and removes the table, though keep-blocks-on-stop is on", bed.elements() is None, bed.elements())
    bed.stop_agent()
    t.check("the next start blocks again", bed.start_agent() and {b["id"]: b["expires"] for b in bed.blocks()} == before
            and ATTACKER in (bed.elements() or {}), (before, bed.blocks()))
    t.check("the agent ends, its blocks stay", bed.stop_agent() == 0 and ATTACKER in (bed.elements() or {}), bed.elements())
    done = bed.ctl("stop")
    t.check("`stop` without an agent fails", done.returncode == 1 and "no agent" in done.stderr, done.stderr)
    done = stop()
    t.check("with --clear it removes the table", done.returncode == 0 and bed.elements() is None, (done.stderr, bed.elements()))
    t.check("and is content when there is none", stop().returncode == 0)
    done = bed.sh(bed.server, "setpriv", "--reuid", "65534", "--clear-groups", bed.agent, "stop", "--clear", "--socket",
                  bed.socket)
    t.check("only root can", done.returncode == 1 and "root" in done.stderr, done.stderr)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_start")
    with Bed(ap.parse_args().agent, rules=RULE, extra="  interfaces: [eth1, eth2, late0]\n") as bed:
        manager = Manager(bed.path("notify"))
        try:
            for step in (starts, typed, reloads, gap, clear):
                step(bed, t, manager)
        finally:
            manager.close()
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
