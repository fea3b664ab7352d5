#!/usr/bin/env python3
"""docs/operations.md does what it says: its blocks are run in order, as root, on a manager and on a host.

    operations.py --packages DIR       as root; needs mmdebstrap, systemd-nspawn and moto

A block is headed "sh host=manager" or "sh host=agent"; "until" behind it: asked again until what follows is shown. Blocks
headed "sh elsewhere" are not run. A block headed "text" is what the one before it shows, a line each: "…" is anything. A
comment "carry: FILE..." takes files from the manager's folder to the host's, which is what people do.
"""
import argparse
import hashlib
import os
import re
import shutil
import sys

import hosts
from hosts import ROOT, find, wait_until
from system import left_of, newer

DOC = os.path.join(ROOT, "docs/operations.md")
NAMES = ("sekisho", "sekisho-manager", "sekisho-rules")
ELSEWHERE_MOST = 4
HOST = {"manager": "manager", "agent": "web-a"}
PARTS = re.compile(r"^```([^\n]*)\n(.*?)^```$|^<!-- carry: ([^\n]*) -->$", re.M | re.S)


class Block:
    def __init__(self, line, words, text):
        self.line, self.text, self.expect = line, text, []
        self.elsewhere = words == ["sh", "elsewhere"]
        self.until = "until" in words
        self.carry = None
        where = [w[5:] for w in words if w.startswith("host=")]
        self.host = HOST.get(where[0]) if len(where) == 1 else None
        self.known = self.elsewhere or (words[:1] == ["sh"] and self.host and set(words[2:]) <= {"until"})

    def missing(self, shown):
        """Lines that were to be shown, and are not."""
        lines = [" ".join(x.split()) for x in shown.splitlines()]
        return [e for e in self.expect if not any(re.fullmatch(pattern(e), x) for x in lines)]


def pattern(line):
    return ".*".join(re.escape(x) for x in " ".join(line.split()).split("…"))


def blocks(text):
    out = []
    for m in PARTS.finditer(text):
        line = text.count("\n", 0, m.start()) + 1
        if m[3]:
            b = Block(line, ["sh", "host=agent"], "")
            b.carry = m[3].split()
            out.append(b)
        elif m[1].strip() == "text":
            out[-1].expect = [x for x in m[2].splitlines() if x.strip()]
        else:
            out.append(Block(line, m[1].split(), m[2]))
    return out


def sums(folder):
    out = ""
    for name in NAMES:
        with open(find(folder, name), "rb") as f:
            out += f"{hashlib.sha256(f.read()).hexdigest()}  {os.path.basename(f.name)}\n"
    return out


def prepare(bed):
    """A folder with the packages, those of the next version in next/."""
    later = os.path.join(bed.dir, "later")
    newer(bed.packages, later)
    for name in HOST.values():
        h = bed.host(name)
        h.copy(*(find(bed.packages, n) for n in NAMES))
        h.copy(*(find(later, n) for n in NAMES), to="/root/next")
        h.write("/root/SHA256SUMS", sums(bed.packages))
        h.boot()
    for name in HOST.values():
        bed.hosts[name].wait_booted()
        bed.hosts[name].must("apt-get", "-q", "update")


def run(bed, b):
    """(done, what was shown)"""
    h = bed.hosts[b.host]
    if b.carry:
        for name in b.carry:
            shutil.copy(bed.hosts["manager"].at("/root/" + name), h.at("/root/" + name))
        return True, ""
    state = {}

    def once():
        done = h.sh("sh", "-eu", "-c", "cd /root\n" + b.text, timeout=300)
        state.update(code=done.returncode, shown=done.stdout + done.stderr)
        return done.returncode == 0 and not b.missing(state["shown"])
    fine = wait_until(once, 30, .5) is not None if b.until else once()
    return fine, f"exit {state['code']}, not shown: {b.missing(state['shown'])}, shown:\n{state['shown'][-1500:]}"


def test(bed, t):
    everything = blocks(open(DOC, encoding="utf-8").read())
    unknown = [b.line for b in everything if not b.known]
    t.check("each block says where it is run", not unknown, [f"docs/operations.md:{n}" for n in unknown])
    here = [b for b in everything if not b.elsewhere]
    t.check(f"no more than {ELSEWHERE_MOST} are run elsewhere", len(everything) - len(here) <= ELSEWHERE_MOST and len(here) > 15,
            (len(everything), len(here)))
    prepare(bed)
    plain = {n: h.files() for n, h in bed.hosts.items()}
    for b in here:
        fine, why = run(bed, b)
        t.check(f"docs/operations.md:{b.line}: on {b.host}: {'carry' if b.carry else b.text.splitlines()[0]}", fine, why)
    for name, units in (("web-a", ("sekisho", "sekisho-drain")), ("manager", ("sekisho-manager",))):
        left_of(t, bed.hosts[name], plain[name], units)


if __name__ == "__main__":
    sys.exit(hosts.run("package-operations", __file__, argparse.ArgumentParser(description=__doc__), test, aws=False))
