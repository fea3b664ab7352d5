#!/usr/bin/env python3
"""docs/operations.md does what it says: its blocks are run in order, as root, on managers and on hosts.

    operations.py --packages DIR       as root; needs mmdebstrap, systemd-nspawn, rpmbuild, createrepo_c and moto

A block is headed "sh host=KIND", or KIND,KIND where it is the same on both: manager and agent are Debian with DEBs,
manager-rpm and agent-rpm hosts with dnf (rpm_hosts.py). "until" behind it: asked again until what follows is shown. A block
headed "text" is what the one before it shows, a line each: "…" is anything. A comment "carry: FILE..." takes files from the
manager's folder to those of the hosts, which is what people do.

Beside what the document shows: what dnf has done to services, to blocks and to files.
"""
import argparse
import glob
import hashlib
import os
import re
import shutil
import sys

import hosts
import rpm
import rpm_hosts
from hosts import ROOT, find, wait_until
from system import Deaths, left_of, newer

DOC = os.path.join(ROOT, "docs/operations.md")
NAMES = ("sekisho", "sekisho-manager", "sekisho-rules")
HOST = {"manager": "manager", "agent": "web-a", "manager-rpm": "manager-rpm", "agent-rpm": "web-rpm"}
# What the hosts with dnf look like.
LOOKS = {"manager-rpm": "al2023", "web-rpm": "rhel9"}
UNITS = {"web-a": ("sekisho", "sekisho-drain"), "web-rpm": ("sekisho", "sekisho-drain"), "manager": ("sekisho-manager",),
         "manager-rpm": ("sekisho-manager",)}
NEXT = "99.1"  # of the later RPMs
REFUSING = "99.2"
STAYS = "198.51.100.88"
PARTS = re.compile(r"^```([^\n]*)\n(.*?)^```$|^<!-- carry: ([^\n]*) -->$", re.M | re.S)


class Block:
    def __init__(self, line, words, text):
        self.line, self.text, self.expect = line, text, []
        self.until = "until" in words
        self.carry = None
        kinds = words[1][5:].split(",") if words[1:2] and words[1].startswith("host=") else []
        self.known = words[:1] == ["sh"] and kinds and set(kinds) <= set(HOST) and set(words[2:]) <= {"until"}
        self.hosts = [HOST[k] for k in kinds if k in HOST]

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
            b = Block(line, ["sh", "host=agent,agent-rpm"], "")
            b.carry = m[3].split()
            out.append(b)
        elif m[1].strip() == "text":
            out[-1].expect = [x for x in m[2].splitlines() if x.strip()]
        else:
            out.append(Block(line, m[1].split(), m[2]))
    return out


def is_other(package):
    """For another machine than this one."""
    machines = {"x86_64": ("amd64.deb", "x86_64.rpm"), "aarch64": ("arm64.deb", "aarch64.rpm")}
    return any(package.endswith(ends) for name, ends in machines.items() if name != os.uname().machine)


def sums(files):
    out = ""
    for path in files:
        with open(path, "rb") as f:
            out += f"{hashlib.sha256(f.read()).hexdigest()}  {os.path.basename(path)}\n"
    return out


def prepare(bed):
    """A folder with the packages, those of the next version in next/."""
    everything = sorted(f for f in glob.glob(bed.packages + "/*.deb") + glob.glob(bed.packages + "/*.rpm") if not is_other(f))
    later = os.path.join(bed.dir, "later")
    newer(bed.packages, later)
    rpms = [rpm.one(bed.packages, n) for n in NAMES]
    later_rpms = rpm.other_version(rpms, NEXT, bed.dir)
    refusing = rpm.other_version(rpms, REFUSING, bed.dir, "block-duration")
    for name in HOST.values():
        if name in LOOKS:
            looks = rpm_hosts.Distribution(LOOKS[name], [*rpms, *later_rpms], os.path.join(bed.dir, LOOKS[name]))
            h = bed.host(name, lambda b, n, d=looks: rpm_hosts.RpmHost(b, n, d))
            h.copy(*later_rpms, to="/root/next")
            h.copy(*refusing, to="/root/refusing")
        else:
            h = bed.host(name)
            h.copy(*(find(later, n) for n in NAMES), to="/root/next")
        h.copy(*everything)
        h.write("/root/SHA256SUMS", sums(everything))
        h.boot()
    for name, h in bed.hosts.items():
        h.wait_booted()
        if name not in LOOKS:
            h.must("apt-get", "-q", "update")


def run(bed, b, name):
    """(done, what was shown)"""
    h = bed.hosts[name]
    if b.carry:
        for file in b.carry:
            shutil.copy(bed.hosts["manager"].at("/root/" + file), h.at("/root/" + file))
        return True, ""
    state = {}

    def once():
        done = h.sh("sh", "-eu", "-c", "cd /root\n" + b.text, timeout=300)
        state.update(code=done.returncode, shown=done.stdout + done.stderr)
        return done.returncode == 0 and not b.missing(state["shown"])
    fine = wait_until(once, 30, .5) is not None if b.until else once()
    return fine, f"exit {state['code']}, not shown: {b.missing(state['shown'])}, shown:\n{state['shown'][-1500:]}"


# --- beside what the document shows ---

class Dnf:
    """What dnf does to a host beyond what the document shows: to services, to blocks, to files."""

    def __init__(self, t, h, verb):
        self.t, self.h, self.verb = t, h, verb
        self.agent = h.name == HOST["agent-rpm"]
        self.packages = ["sekisho", "sekisho-rules"] if self.agent else ["sekisho-manager"]
        if verb == "install":
            return
        if self.agent and STAYS not in (h.elements() or ()):
            h.must("sekisho", "block", STAYS, "--for", "1h")
        self.kept, self.began = self.outlives(), self.start()
        self.deaths = Deaths(h.bed, h) if self.agent and verb != "remove" else None

    def outlives(self):
        """What another version does not change."""
        if self.agent:
            return {b["id"]: b["expires"] for b in self.h.json("sekisho", "blocks")}
        return self.h.must("sekisho-manager", "ca", "show")

    def start(self):
        return self.h.show(self.packages[0], "ExecMainStartTimestampMonotonic")

    def check(self, what, good, detail=""):
        self.t.check(f"dnf {self.verb}: {self.h.name}: {what}", good, detail)

    def end(self):
        if self.verb == "remove":
            self.removed()
            return
        found = self.h.sh("rpm", "-q", "--qf", "%{VERSION} ", *self.packages).stdout.split()
        self.check("all are of one version", len(set(found)) == 1 and (found[0] == NEXT) == (self.verb == "upgrade"), found)
        self.check("each file is as its package has it", not self.h.changed(*self.packages), self.h.changed(*self.packages))
        if self.verb == "install":
            self.installed()
        else:
            self.replaced()

    def installed(self):
        for unit in UNITS[self.h.name]:
            state = (self.h.sh("systemctl", "is-enabled", unit).stdout.strip(), self.h.active(unit))
            self.check(f"{unit} is neither enabled nor started", state == ("disabled", "inactive"), state)
        want, found = self.h.accounts_declared(), self.h.accounts()
        self.check("its users are those of sysusers.d", want and want.items() <= found.items(), (want, found))

    def replaced(self):
        heard = self.deaths.end() if self.deaths else ""
        self.check("the service has been started again", self.start() != self.began, self.h.journal(self.packages[0]))
        states = [(self.h.sh("systemctl", "is-enabled", u).stdout.strip(), self.h.active(u)) for u in UNITS[self.h.name]]
        self.check("what ran runs, and will after a boot; what did not does not", states == [
            ("enabled", "active"), ("disabled", "inactive")][:len(states)], states)
        if not self.agent:
            self.check("it is the same manager", self.kept and self.outlives() == self.kept, (self.kept, self.outlives()))
            new = "# of version " + NEXT in self.h.read("/etc/sekisho/manager.yaml")
            self.check("a configuration that nobody changed is the package's", new == (self.verb == "upgrade"))
            return
        self.check("all roles work", wait_until(self.h.roles, 20) is not None, self.h.journal("sekisho"))
        self.check("the same blocks, with the same ends", self.kept and self.outlives() == self.kept, (self.kept, self.outlives()))
        self.check("the kernel has announced the end of none", STAYS in (self.h.elements() or ()) and "sekisho" not in heard and
                   "table inet probe" in heard, heard[-600:])
        own = self.h.read("/etc/sekisho/sekisho.yaml")
        self.check("what was changed in the configuration is kept, the new one beside it", "block-duration: 2h" in own and
                   "# of version " + NEXT not in own and self.h.read("/etc/sekisho/sekisho.yaml.rpmnew"), own)
        if self.verb == "upgrade":
            self.refused()

    def refused(self):
        """One version more, which does not know a key that this host has set. What the document does next ends it."""
        before, pid = self.outlives(), self.h.show("sekisho", "MainPID")
        done = self.h.sh("sh", "-c", "dnf upgrade -y /root/refusing/sekisho-[0-9]*64.rpm /root/refusing/sekisho-rules-[0-9]*.rpm",
                         timeout=300)
        said = done.stdout + done.stderr
        self.check("a version that refuses the configuration is installed", done.returncode == 0 and REFUSING in
                   self.h.sh("rpm", "-q", "sekisho").stdout, said[-1500:])
        self.check("which says loudly why it does not run", "NOT RESTARTED" in said and
                   re.search(r"sekisho\.yaml:\d+:\d+: .*block-duration", said), said[-1500:])
        self.check("the agent before goes on", self.h.show("sekisho", "MainPID") == pid and self.h.roles() and
                   self.outlives() == before, (pid, self.h.journal("sekisho")))
        self.check("and tells that a restart is due", self.h.json("sekisho", "status")["program_replaced"] is True)

    def removed(self):
        if self.agent:
            self.check("nobody is blocked", self.kept and self.h.elements() is None, self.h.elements())
        self.check("rpm knows nothing of it", not [p for p in self.packages if self.h.has(p)])
        users = set(self.h.accounts()) & {"sekisho", "sekisho-report", "sekisho-manager"}
        self.check("the users stay, so that their numbers do not come to mean somebody else", len(users) == (2 if self.agent else 1), users)


def test(bed, t):
    everything = blocks(open(DOC, encoding="utf-8").read())
    unknown = [b.line for b in everything if not b.known]
    t.check("each block says where it is run", not unknown, [f"docs/operations.md:{n}" for n in unknown])
    ran = {name: sum(name in b.hosts for b in everything) for name in HOST.values()}
    t.check(f"and there are some for each: {ran}", min(ran.values()) > 4)
    prepare(bed)
    plain = {n: h.files() for n, h in bed.hosts.items()}
    for b in everything:
        for name in b.hosts:
            verb = re.search(r"^dnf (\S+)", b.text, re.M)
            dnf = Dnf(t, bed.hosts[name], verb[1]) if verb else None
            fine, why = run(bed, b, name)
            t.check(f"docs/operations.md:{b.line}: on {name}: {'carry' if b.carry else b.text.splitlines()[0]}", fine, why)
            if dnf:
                dnf.end()
    for name, units in UNITS.items():
        left_of(t, bed.hosts[name], plain[name], units)


if __name__ == "__main__":
    sys.exit(hosts.run("package-operations", __file__, argparse.ArgumentParser(description=__doc__), test, aws=False))
