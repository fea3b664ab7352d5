#!/usr/bin/env python3
"""The packages for arm64 that were cross-compiled (`./dev package --arm64`): what is in them, and what their programs do in
an emulator (Debian's qemu-aarch64-static), with the very libraries that they depend on. The measure is what the packages
for this machine do. Needs root for the emulator's folders, and what `./dev package` needs.

  arm64.py --packages DIR --root ROOT

ROOT is of packaging/cross/root.sh: it has the emulator, and an apt that knows arm64.

The emulator hands system calls to this machine's kernel. It has no packet sockets with a ring, no system call filters and no
nftables of its own: `sekisho run` is not tried here. Memory is ordered as on this machine, and nothing has its real speed.
"""
import argparse
import collections
import contextlib
import glob
import gzip
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from booted import Tally, run, wait_until  # noqa: E402  # pylint: disable=wrong-import-position
import deb as debs_test  # noqa: E402  # pylint: disable=wrong-import-position

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHARED = os.path.join(os.path.dirname(ROOT), "shared")
AARCH64 = 183  # EM_AARCH64
PROGRAMS = ("sekisho", "sekisho-manager")
STARTER = os.path.join(ROOT, "rules/sekisho-starter.rules")
# End-to-end cases that need more of a kernel than the emulator has.
BEYOND = {"bad-run-rule": "the emulator knows no packet sockets with a ring"}


# --- the packages as files ---

def machine(path):
    """ELF's number of the machine; None: no ELF file."""
    with open(path, "rb") as f:
        head = f.read(20)
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" else None


def unpack(package, folder):
    os.makedirs(folder, exist_ok=True)
    if package.endswith(".deb"):
        run("dpkg-deb", "-x", package, folder)
    else:
        run("sh", "-euc", 'rpm2cpio "$1" | (cd "$2" && cpio -idmu --quiet --no-absolute-filenames)', "unpack", package, folder)
    return folder


def tree(folder):
    """{path: (mode, content, or "program" for ELF files)}, and the machines of those."""
    found, machines = {}, set()
    for place, dirs, names in os.walk(folder):
        for path in (os.path.join(place, n) for n in dirs + names):
            mode, what = os.lstat(path).st_mode, None
            if stat.S_ISLNK(mode):
                what = os.readlink(path)
            elif stat.S_ISREG(mode):
                number = machine(path)
                with open(path, "rb") as f:
                    what = f.read() if number is None else "program"
                machines |= {number} - {None}
            found[os.path.relpath(path, folder)] = (oct(mode), what)
    return found, machines


def control(package):
    """What a DEB says of itself; of what it depends on the names."""
    fields = dict(re.findall(r"^([A-Za-z-]+): (.*(?:\n .*)*)", run("dpkg-deb", "-f", package).stdout, re.M))
    fields["Depends"] = sorted(re.sub(r" \(.*?\)", "", one.strip()) for one in fields.get("Depends", "").split(","))
    for own in ("Architecture", "Installed-Size"):
        fields.pop(own)
    return fields


def tags(package):
    """The same of an RPM: scripts, users, files."""
    script = [f"%{{{t}}}" for t in ("NAME", "VERSION", "RELEASE", "SUMMARY", "LICENSE", "PREIN", "POSTIN", "PREUN", "POSTUN")]
    asks = "\n".join(script) + "\n[%{FILENAMES} %{FILEMODES:octal} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILEFLAGS:fflags}\n]"
    requires = sorted({re.sub(r"ld-linux[^(]*|\(.*", "", r) for r in run("rpm", "-qp", "--requires", package).stdout.splitlines()} - {""})
    return run("rpm", "-qp", "--qf", asks, package).stdout, requires


def test_files(t, debs, rpms, scratch):
    for name in PROGRAMS:
        for form, (own, other), says in (("deb", debs[name], control), ("rpm", rpms[name], tags)):
            (ours, _), (theirs, machines) = tree(unpack(own, f"{scratch}/own")), tree(unpack(other, f"{scratch}/other"))
            odd = sorted(p for p in set(ours) | set(theirs) if ours.get(p) != theirs.get(p))
            t.check(f"{name}, {form}: the same files, modes and contents as for amd64, but for the program", not odd and
                    "program" in [w for _, w in theirs.values()], odd)
            t.check(f"{name}, {form}: its program is for AArch64", machines == {AARCH64}, machines)
            t.check(f"{name}, {form}: it says the same of itself, and requires the same", says(own) == says(other),
                    (says(own), says(other)))
            shutil.rmtree(f"{scratch}/own")
            shutil.rmtree(f"{scratch}/other")
    for name in PROGRAMS:
        debug = debs[name][1].replace(name + "_", name + "-dbgsym_")
        with tempfile.TemporaryDirectory() as d:
            unpack(debug, d)
            unpack(debs[name][1], d)
            ident = re.search("Build ID: ([0-9a-f]+)", run("readelf", "-n", f"{d}/usr/bin/{name}").stdout).group(1)
            files = glob.glob(f"{d}/usr/lib/debug/.build-id/*/*.debug")
            t.check(f"{name}: debug information is that of the program", [os.path.basename(f) for f in files] == [ident[2:] + ".debug"],
                    (ident, files))
    debs_test.look(t, {name: both[1] for name, both in debs.items()})
    out = run("rpmlint", "-c", os.path.join(ROOT, "packaging/rpm/rpmlint.toml"), *(both[1] for both in rpms.values()), check=False).stdout
    t.check("rpmlint has nothing to say", "0 errors, 0 warnings, 0 badness" in out, out)


# --- a root to run in ---

class Emulated:
    """A folder with the programs and all that their packages depend on, as apt resolves it for arm64, and nothing else."""

    def __init__(self, folder, root, packages):
        self.folder, self.root = folder, root
        self.qemu = os.path.join(root, "usr/bin/qemu-aarch64-static")
        self.debs = self.fetch(packages)
        for one in self.debs + packages:
            unpack(one, self.path("root"))
        shutil.copy(self.qemu, self.path("root/qemu"))
        for d in ("dev", "tmp"):
            os.makedirs(self.path("root/" + d), exist_ok=True)
        os.mknod(self.path("root/dev/null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.chmod(self.path("root/dev/null"), 0o666)

    def path(self, name):
        return os.path.join(self.folder, name)

    def fetch(self, packages):
        """The packages that apt would install with them where nothing is yet."""
        state = self.path("apt")
        os.makedirs(state + "/partial")
        open(state + "/status", "w", encoding="ascii").close()
        for one in packages:
            shutil.copy(one, state)
        options = [f"-o{o}" for o in ("Dir::State::status=/out/status", "Dir::Cache::archives=/out", "APT::Architecture=arm64",
                                      "APT::Architectures=arm64", "APT::Sandbox::User=root", "Debug::NoLocking=true")]
        # The root's lists of packages, this machine's network.
        run("unshare", "--mount", "sh", "-euc", 'state=$1 root=$2; shift 2; mount --bind "$state" "$root/out"; '
            'for f in /etc/resolv.conf /etc/hosts; do [ -e "$root$f" ] || : >"$root$f"; mount --bind "$f" "$root$f"; done; '
            'exec chroot "$root" "$@"', "fetch", state, self.root, "apt-get", "-q", "-y", *options,
            "--no-install-recommends", "--download-only", "install", *("/out/" + os.path.basename(p) for p in packages))
        given = {os.path.basename(p) for p in packages}
        return sorted(d for d in glob.glob(state + "/*.deb") if os.path.basename(d) not in given)

    def command(self, name, program, root="root"):
        """A program of the emulated machine as one of this one: paths that the root has are the root's, others this machine's."""
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'#!/bin/sh\nexec {self.qemu} -L {self.path(root)} {self.path(root)}/usr/bin/{program} "$@"\n')
        os.chmod(path, 0o755)
        return path

    def inside(self, program, *args):
        """A command line that sees the root alone."""
        return ["chroot", self.path("root"), "/qemu", "/usr/bin/" + program, *args]

    def with_rpms(self, rpms):
        """Another root, with the RPMs' programs. libpcap has another soname on their distributions."""
        root = self.path("rpm-root")
        run("cp", "-a", self.path("root"), root)
        for one in rpms:
            unpack(one, root)
        os.symlink("libpcap.so.0.8", root + "/usr/lib/aarch64-linux-gnu/libpcap.so.1")
        for vectorscan in glob.glob(root + "/usr/lib/aarch64-linux-gnu/libhs*"):
            os.unlink(vectorscan)  # theirs is inside


# --- what the programs do ---

def version():
    with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as f:
        return re.search(r"project\(sekisho VERSION ([0-9.]+)", f.read()).group(1)


def findings(agent, rules):
    """All that `check` says of a rule file, but for how long it took."""
    done = run(agent, "check", "-S", rules, check=False, timeout=900)
    return done.returncode, re.sub(r"; parsed in .*", "", done.stdout)


def records(agent, pcap, out, *args):
    """EVE records of a replay; flows, whose numbers are chance, by the order in which they appear."""
    shutil.rmtree(out, ignore_errors=True)
    run(agent, "replay", "-q", "-k", "all", "-S", STARTER, "-l", out, *args, pcap)
    flows, found = {}, []
    with open(out + "/eve.json", encoding="utf-8") as f:
        for record in map(json.loads, f):
            if "flow_id" in record:
                record["flow_id"] = flows.setdefault(record["flow_id"], len(flows))
            found.append(record)
    return found


def test_records(t, own, emulated, scratch):
    pcaps = sorted(glob.glob(os.path.join(ROOT, "pcaps/*.pcap*")))
    kinds, odd = collections.Counter(), []
    for pcap in pcaps:
        want = records(own, pcap, scratch + "/own-out")
        if records(emulated, pcap, scratch + "/other-out") != want:
            odd.append(os.path.basename(pcap))
        kinds.update(r["event_type"] for r in want)
    t.check(f"{len(pcaps)} captures: the same {sum(kinds.values())} records as on amd64, {kinds['alert']} of them alerts",
            not odd and kinds["alert"] > 100 and kinds["http"] > 100, odd)


def test_rules(t, own, emulated, scratch):
    (code, said), other = findings(own, STARTER), findings(emulated, STARTER)
    t.check("starter rules: check says the same", code == 0 and other == (code, said), other)
    rules = os.path.join(SHARED, "rules/etopen-2025-08.rules.gz")
    if not os.path.exists(rules):
        t.skip("ET Open: ../shared/rules is not here")
        return
    plain = scratch + "/etopen.rules"
    with gzip.open(rules, "rb") as f, open(plain, "wb") as g:
        shutil.copyfileobj(f, g)
    (code, said), other = findings(own, plain), findings(emulated, plain)
    sums = said.strip().splitlines()[-1]
    odd = sorted(set(said.splitlines()) ^ set(other[1].splitlines()))
    t.check(f"ET Open: check says the same in all {len(said.splitlines())} lines: {sums}", " rules loaded, " in sums and
            other == (code, said), odd[:6])


def test_cases(t, agent):
    e2e = os.path.join(ROOT, "tests/e2e")
    names = sorted(os.path.basename(os.path.dirname(p)) for p in glob.glob(e2e + "/*/case.json"))
    for name in names:
        if name in BEYOND:
            t.skip(f"e2e/{name}: {BEYOND[name]}")
    out = run(sys.executable, "-B", e2e + "/run.py", "--agent", agent, *(n for n in names if n not in BEYOND), check=False,
              timeout=3600).stdout
    sums = re.search(r"^e2e: (\d+) passed, (\d+) failed, (\d+) skipped$", out, re.M)
    passed, failed, skipped = map(int, sums.groups()) if sums else (0, 1, 0)
    t.passed, t.skipped = t.passed + passed, t.skipped + skipped
    if failed or passed + skipped != len(names) - len(BEYOND):
        t.check("end-to-end cases", False, out)
    else:
        print(f"ok   end-to-end cases: {passed} passed, {skipped} skipped", flush=True)


def conformance(agent, scratch):
    """Results of the public regression suite, {test: result}."""
    suite, report = scratch + "/suite", scratch + "/report.json"
    shutil.copytree(os.path.join(SHARED, "conformance"), suite)
    run("chmod", "-R", "u+w", suite)
    run(sys.executable, "-B", os.path.join(SHARED, "tools/suricata_verify.py"), "--suite", suite, "--list", suite + "/tierA.txt",
        "--map", os.path.join(SHARED, "tools/suricata_verify_map.json"), "--ips-flag", "--mode prevent", "--timeout", "300",
        "--json", report, "--agent", agent + " replay -l {outdir} -S {rules} --vars {vars} {ips} {extra} {pcap}",
        "--agent-check", agent + " check -S {rules}", check=False, timeout=3600)
    with open(report, encoding="utf-8") as f:
        found = json.load(f)
    shutil.rmtree(suite)
    return {one["name"]: one["status"] for one in found["tests"]}


def test_conformance(t, own, emulated, scratch):
    if not os.path.isdir(os.path.join(SHARED, "conformance")):
        t.skip("conformance: ../shared/conformance is not here")
        return
    want, got = conformance(own, scratch), conformance(emulated, scratch)
    odd = {n: (want.get(n), got.get(n)) for n in set(want) | set(got) if want.get(n) != got.get(n)}
    passed = sum(r == "PASS" for r in want.values())
    t.check(f"conformance, tier A: the same {passed} of {len(want)} tests pass as on amd64", passed > 0 and not odd, odd)


def test_manager(t, emulated):
    """init, tokens and a server, and an agent that enrols: SQLite, OpenSSL, GnuTLS, libmicrohttpd and libcurl at work."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    root = emulated.path("root")
    for name, text in (("manager.yaml", f"listen: 127.0.0.1:{port}\nstate-dir: /tmp/manager\n"),
                       ("agent.yaml", "manager:\n  state-dir: /tmp/uplink\n")):
        with open(os.path.join(root, "tmp", name), "w", encoding="utf-8") as f:
            f.write(text)
    settings = ("-c", "/tmp/manager.yaml")
    said = run(*emulated.inside("sekisho-manager", "init", *settings, "--name", "127.0.0.1"), check=False)
    found = re.search(r"\b[0-9a-f]{64}\b|\b(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\b", said.stdout)
    if not t.check("sekisho-manager init makes a CA", said.returncode == 0 and found, said.stdout):
        return
    token = run(*emulated.inside("sekisho-manager", "token", "create", *settings), check=False)
    listed = run(*emulated.inside("sekisho-manager", "token", "list", *settings), check=False)
    if not t.check("token create, and the token is listed", token.returncode == 0 and listed.returncode == 0 and
                   len(listed.stdout.strip().splitlines()) >= 1, token.stdout + listed.stdout):
        return
    with open(root + "/tmp/token", "w", encoding="ascii") as f:
        f.write(token.stdout.strip().splitlines()[-1] + "\n")
    os.chmod(root + "/tmp/token", 0o600)
    with served(emulated.inside("sekisho-manager", "run", *settings), port, root + "/tmp/log") as up:
        if not t.check("sekisho-manager run listens", up, lines(root + "/tmp/log")):
            return
        done = run(*emulated.inside("sekisho", "enroll", "-c", "/tmp/agent.yaml", "--manager", f"https://127.0.0.1:{port}",
                                    "--token-file", "/tmp/token", "--ca-fingerprint", found.group(0)), check=False)
        agents = run(*emulated.inside("sekisho-manager", "agents", "--json", *settings), check=False)
        t.check("an agent enrols", done.returncode == 0 and agents.stdout.startswith("[") and len(json.loads(agents.stdout)) == 1,
                done.stdout + agents.stdout + lines(root + "/tmp/log"))
        blocks = [run(*emulated.inside("sekisho-manager", *words, *settings), check=False) for words in (
            ("block", "203.0.113.9", "--for", "1h"), ("blocks", "--json"), ("audit",))]
        t.check("a block of an operator is kept and shown", all(b.returncode == 0 for b in blocks) and
                "203.0.113.9" in blocks[1].stdout, [b.stdout for b in blocks])


def lines(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()[-2000:]


@contextlib.contextmanager
def served(command, port, log):
    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    with open(log, "wb") as f, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=f, stderr=f) as daemon:
        try:
            yield wait_until(lambda: listens() or daemon.poll() is not None, 60) and daemon.poll() is None
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(30)


def test_programs(t, emulated, debs, rpms, scratch):
    t.check(f"apt finds all that the packages depend on, for arm64: {len(emulated.debs)} packages", len(emulated.debs) > 20)
    unpack(debs["sekisho"][0], scratch + "/amd64")
    own = scratch + "/amd64/usr/bin/sekisho"
    for name in PROGRAMS:
        said = run(emulated.command(name, name), "--version", check=False).stdout
        t.check(f"{name} --version", said == f"{name} {version()}\n", said)
    agent = emulated.path("sekisho")
    done = run(*emulated.inside("sekisho", "check"), check=False)
    t.check("configuration and rules that come with the packages are right", done.returncode == 0, done.stdout)
    test_rules(t, own, agent, scratch)
    test_records(t, own, agent, scratch)
    test_cases(t, agent)
    test_conformance(t, own, agent, scratch)
    test_manager(t, emulated)
    emulated.with_rpms([both[1] for both in rpms.values()])
    for name in PROGRAMS:
        said = run(emulated.command("rpm-" + name, name, "rpm-root"), "--version", check=False).stdout
        t.check(f"{name} of the RPM --version", said == f"{name} {version()}\n", said)
    attacks = os.path.join(ROOT, "pcaps/attacks.pcap")
    want, got = (records(a, attacks, scratch + "/out") for a in (own, emulated.path("rpm-sekisho")))
    t.check(f"the RPM's agent, with Vectorscan inside, finds the same {sum(r['event_type'] == 'alert' for r in want)} attacks", got == want)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--packages", required=True, metavar="DIR")
    p.add_argument("--root", required=True)
    a = p.parse_args()
    t = Tally("arm64")
    if os.geteuid() != 0:
        t.skip("needs root for the folders of an emulated machine")
        return t.end()
    if run("dpkg", "--print-architecture").stdout.strip() != "amd64":
        t.skip("cross-compiled packages are compared with amd64's, and this is another machine")
        return t.end()
    folder = os.path.abspath(a.packages)
    debs = {n: [f"{folder}/{n}_{version()}_{arch}.deb" for arch in ("amd64", "arm64")] for n in PROGRAMS}
    rpms = {n: [f"{folder}/{n}-{version()}-1.{arch}.rpm" for arch in ("x86_64", "aarch64")] for n in PROGRAMS}
    missing = [f for both in (*debs.values(), *rpms.values()) for f in both if not os.path.exists(f)]
    if not t.check("packages for both machines are there", not missing, missing):
        return t.end()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="sekisho-arm64-") as scratch:
        os.chmod(scratch, 0o755)
        test_files(t, debs, rpms, scratch)
        packages = [debs["sekisho"][1], debs["sekisho-manager"][1], f"{folder}/sekisho-rules_{version()}_all.deb"]
        test_programs(t, Emulated(scratch, os.path.abspath(a.root), packages), debs, rpms, scratch)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
