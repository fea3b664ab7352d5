#!/usr/bin/env python3
"""Decisions on the running kernel: blocks that last longer each time, a dry run, and the brake on a rule that is wrong."""
import argparse
import json
import os
import signal
import sys
import time

from bed import ATTACK, ATTACKER, SERVER_V, VISITOR, Bed, Tally, wait_until

RULES = ('drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"union select"; flow:established,to_server; http.uri; '
         'content:"union"; nocase; content:"select"; nocase; sid:1; rev:1; metadata: sekisho_block 2s;)\n'
         'drop http any any -> $HOME_NET any (msg:"false positive"; flow:established,to_server; http.uri; '
         'content:"/promo"; sid:5; rev:1;)\n')
DECIDE = "decide:\n  repeat-factor: 2\n"
CLIENTS = 500
CLIENT = '''
import asyncio, sys
async def one(i, url, gate):
    async with gate:
        try:
            r, w = await asyncio.wait_for(asyncio.open_connection("%s", 80, local_addr=("10.78.%%d.%%d" %% (i // 250, i %% 250 + 1), 0)), 3)
            w.write(("GET " + url + " HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n").encode())
            line = await asyncio.wait_for(r.readline(), 3)
            w.close()
            return line.startswith(b"HTTP/1.1 ")
        except (OSError, asyncio.TimeoutError):
            return False
async def main():
    gate = asyncio.Semaphore(50)
    print(sum(await asyncio.gather(*(one(i, sys.argv[1], gate) for i in range(int(sys.argv[2]))))))
asyncio.run(main())
''' % SERVER_V


def said(bed, action):
    return [e["block"] for e in bed.eve("block") if e["block"]["action"] == action]


def decide_conf(bed, text):
    """The configuration with that in place of its section decide."""
    with open(bed.conf, encoding="utf-8") as f:
        base = f.read().split("decide:\n", 1)[0]
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(base + text)


# --- durations that grow ---

def attacked(bed, t, which, seconds):
    """One attack, and how long it is blocked for; waits until that is over."""
    bed.fetch(bed.attacker, ATTACK, 1)
    t.check(f"the {which} attack is blocked", bed.wait_blocked(ATTACKER) is not None, bed.agent_log()[-300:])
    block = next((b for b in bed.blocks() if b["target"] == ATTACKER), {"seconds_left": 0, "id": ""})
    t.check(f"for {seconds} seconds", seconds - 2 < block["seconds_left"] <= seconds, block)
    return block["id"]


def let_go(bed, t, seconds):
    t.check("and is over on time", wait_until(lambda: bed.fetch(bed.attacker, "/index.html", 1) == 200 and not bed.blocks(),
                                               seconds + 4) is not None, bed.blocks())


def growing(bed, t):
    attacked(bed, t, "first", 2)
    let_go(bed, t, 2)
    block = attacked(bed, t, "second", 4)
    text = bed.ctl("explain", block).stdout
    t.check("`explain` says that it is not the first, and shows the first", "number 2 of this target" in text and
            "Earlier" in text, text)
    let_go(bed, t, 4)
    t.check("the agent stops", bed.stop_agent() == 0)
    t.check("and starts again", bed.start_agent(), bed.agent_log()[-600:])
    block = attacked(bed, t, "third, after a restart,", 8)
    t.check("the event says so", wait_until(lambda: any(b.get("repeat") == 2 and b["id"] == block for b in said(bed, "set")))
            is not None, said(bed, "set"))
    t.check("`unblock` forgives", bed.ctl("unblock", block).returncode == 0)
    attacked(bed, t, "next", 2)
    let_go(bed, t, 2)
    done = bed.ctl("blocks", "--history", "--json")
    ended = [b["ended_why"] for b in json.loads(done.stdout)]
    t.check("`blocks --history` has all of them", ended == ["expired", "expired", "unblocked", "expired"], ended)
    t.check("and can be asked for less", bed.ctl("blocks", "--history", "--count").stdout == "4\n" and
            bed.ctl("blocks", "--history", "--for", "1s", "--match", "UNION", "--net", "10.77.2.0/24").stdout == "none has ended\n"
            and len(bed.ctl("blocks", "--history", "--limit", "2").stdout.splitlines()) == 3)
    done = bed.ctl("explain", ATTACKER)
    t.check("`explain` by address explains the last one", done.returncode == 0 and "Ended" in done.stdout, done.stderr)


# --- dry run ---

def dry_run(bed, t):
    bed.ctl("block", VISITOR, "--for", "10m")
    t.check("somebody is blocked", VISITOR in (bed.elements() or {}))
    t.check("the agent stops, its block stays", bed.stop_agent() == 0 and VISITOR in (bed.elements() or {}))
    decide_conf(bed, "decide:\n  dry-run: yes\n")
    t.check("a dry run starts", bed.start_agent(), bed.agent_log()[-600:])
    log = bed.agent_log()
    t.check("and says so, and what it takes away", "DRY RUN" in log and "table inet sekisho of an earlier run is removed, with 1 elements"
            in log and "1 blocks that were in force are over" in log, log[-900:])
    t.check("there is no table in the kernel", bed.elements() is None, bed.elements())
    t.check("whoever was blocked is served", bed.fetch(bed.visitor, "/index.html", 1) == 200 and bed.blocks() == [])
    bed.fetch(bed.attacker, "/promo", 1)
    t.check("an attack leads to a block", wait_until(lambda: len(bed.blocks()) == 1, 3) is not None)
    block = (bed.blocks() or [{"dry_run": None, "id": ""}])[0]
    t.check("that is none", block["dry_run"] is True and bed.fetch(bed.attacker, "/index.html", 1) == 200 and
            bed.elements() is None, block)
    t.check("the event says so", wait_until(lambda: any(b.get("dry_run") and b["id"] == block["id"] for b in said(bed, "set")))
            is not None, said(bed, "set"))
    for args in (("status",), ("blocks",), ("explain", block["id"])):
        t.check(f"so does `{args[0]}`", "DRY RUN" in bed.ctl(*args).stdout, bed.ctl(*args).stdout)
    done = bed.ctl("block", VISITOR)
    t.check("and `block`", done.returncode == 0 and "DRY RUN" in done.stdout and bed.fetch(bed.visitor, "/index.html", 1) == 200,
            done.stdout + done.stderr)
    decide_conf(bed, DECIDE)
    done = bed.ctl("reload", timeout=60)
    t.check("a reload cannot end it, and says how", done.returncode == 1 and "decide.dry-run" in done.stderr and
            "start it again" in done.stderr, done.stderr)
    t.check("the dry run stops", bed.stop_agent() == 0)
    t.check("a real run starts", bed.start_agent(), bed.agent_log()[-600:])
    t.check("nobody is blocked by what the dry run had decided", bed.elements() == {} and bed.blocks() == [] and
            "2 blocks of a dry run are over" in bed.agent_log(), bed.elements())
    done = bed.ctl("explain", block["id"])
    t.check("which is still explained", "DRY RUN" in done.stdout and "dry-run-switched" in done.stdout, done.stdout)


# --- the brake ---

def many_clients(bed):
    with open(bed.path("addresses"), "w", encoding="ascii") as f:
        for i in range(CLIENTS):
            f.write(f"addr add 10.78.{i // 250}.{i % 250 + 1}/32 dev eth0\n")
    bed.must("ip", "-n", bed.visitor, "-batch", bed.path("addresses"))
    bed.must("ip", "-n", bed.server, "route", "add", "10.78.0.0/22", "via", VISITOR)
    with open(bed.path("clients.py"), "w", encoding="ascii") as f:
        f.write(CLIENT)


def requests(bed, url):
    """How many of the clients get an answer."""
    done = bed.sh(bed.visitor, sys.executable, bed.path("clients.py"), url, str(CLIENTS), timeout=180)
    return int(done.stdout or -1)


def brake_at(bed):
    return bed.status()["brake"]


def brakes(bed, t):
    many_clients(bed)
    t.check(f"{CLIENTS} clients are served", requests(bed, "/index.html") == CLIENTS)
    # The number is an estimate of a sketch: 1.6 % standard error.
    t.check("and counted as active", wait_until(lambda: 0.93 * CLIENTS < brake_at(bed)["active_clients"] < 1.07 * CLIENTS, 5)
            is not None, brake_at(bed))
    os.kill(bed.role("engine")["pid"], signal.SIGKILL)
    t.check("which a new engine does not forget", wait_until(lambda: bed.role("engine").get("restarts") == 1 and bed.ready(), 10)
            is not None and not time.sleep(1.5) and brake_at(bed)["active_clients"] > 0.93 * CLIENTS, brake_at(bed))
    requests(bed, "/index.html")
    time.sleep(1.5)  # the engine writes the number once a second
    requests(bed, "/promo")
    wait_until(lambda: bed.status()["blocks"]["refused_brake"] > 0, 3)
    b = brake_at(bed)
    blocked = len(bed.elements() or {})
    t.check("a rule that fires at all of them blocks a tenth", blocked == b["limit"] and 45 <= blocked <= 55, (blocked, b))
    served = requests(bed, "/index.html")
    t.check("the others are served", served == CLIENTS - blocked, (served, blocked))
    text = bed.ctl("status").stdout
    t.check("`status` says that it brakes", "BRAKING since" in text and "BLOCKS STOPPED" in text, text)
    told = said(bed, "braked")
    t.check("one event says it with its numbers", wait_until(lambda: len(said(bed, "braked")) == 1) is not None and
            {"new_blocks", "active_clients", "share", "limit"} <= set(said(bed, "braked")[0]), told)
    t.check("and one line of the log what to do", bed.agent_log().count("BRAKE: ") == 1 and "brake --release" in bed.agent_log())
    refused = [e for e in said(bed, "refused") if e["refused_by"]["kind"] == "brake"]
    t.check("each that was spared is in an event", len({e["target"] for e in refused}) == CLIENTS - blocked, len(refused))
    released(bed, t, blocked)


def released(bed, t, blocked):
    done = bed.ctl("brake")
    t.check("`brake` shows it", done.returncode == 0 and "BRAKING" in done.stdout and "room for 0" in done.stdout, done.stdout)
    done = bed.ctl("block", ATTACKER)
    t.check("an operator still blocks whom he likes", done.returncode == 0 and ATTACKER in (bed.elements() or {}), done.stderr)
    done = bed.ctl("brake", "--release")
    t.check("`brake --release` lets go", done.returncode == 0 and "BRAKING" not in done.stdout, done.stdout)
    t.check("which is an event too", wait_until(lambda: len(said(bed, "released")) == 1) is not None, said(bed, "released"))
    t.check("and `status` is calm", "BRAKING" not in bed.ctl("status").stdout)
    requests(bed, "/promo")
    more = len(bed.elements() or {}) - 1 - blocked
    t.check("then as many can be blocked again", more == brake_at(bed)["limit"] and brake_at(bed)["braking"], (more, brake_at(bed)))
    targets = [b["target"] for b in json.loads(bed.ctl("blocks", "--origin", "rule", "--sort", "target", "--json").stdout)]
    t.check("`blocks --origin rule` lists them by address", len(targets) == blocked + more and
            targets == sorted(targets, key=lambda a: [int(x) for x in a.split(".")]), targets[:5])
    done = bed.ctl("unblock", "--all")
    t.check("`unblock --all` ends all of them", done.stdout == f"unblocked {blocked + more + 1}\n" and bed.elements() == {},
            done.stdout + done.stderr)
    t.check("and they are served", requests(bed, "/index.html") == CLIENTS)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_decide")
    with Bed(ap.parse_args().agent, rules=RULES, extra=DECIDE) as bed:
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            for step in (growing, dry_run, brakes):
                step(bed, t)
            t.check("the agent ends with 0", bed.stop_agent() == 0, bed.agent_log()[-300:])
        log = bed.agent_log()
        t.check("no sanitizer has anything to say", "Sanitizer" not in log and "runtime error" not in log, log[-2000:])
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
