#!/usr/bin/env python3
"""Binaries for Amazon Linux 2023 and RHEL 9: what they need must be there. Read from the binaries themselves, from the
RPMs that hold them, and from the source for what no symbol shows: libcurl's options.

  check_rpm_gate.py BINARY...        binaries alone
  check_rpm_gate.py --packages DIR   the RPMs in DIR, for whatever machine, their binaries and what they require
  check_rpm_gate.py --refuses BINARY...   passes if the gate names faults: Debian's own build must not get through
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
MACHINES = {"x86_64": "Advanced Micro Devices X86-64", "aarch64": "AArch64"}
LAST_OPTION = 308  # CURLOPT_DOH_SSL_VERIFYSTATUS: the last one of libcurl 7.76
ROOT = os.path.dirname(os.path.dirname(HERE))


def run(*cmd, data=None):
    return subprocess.run(cmd, input=data, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def load(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return yaml.safe_load(f)


def number(version):
    return [int(n) for n in re.findall(r"\d+", version)]


class Binary:
    """machine; needed: sonames; versions: {soname: [version]}; plain: functions without a version; paths: RPATH, RUNPATH."""

    def __init__(self, path):
        self.machine = re.search(r"^ +Machine: +(.*)$", run("readelf", "-h", path), re.M).group(1)
        out = run("objdump", "-p", path)
        self.needed = [n for n in re.findall(r"^ +NEEDED +(\S+)$", out, re.M) if not n.startswith("ld-linux")]
        self.paths = re.findall(r"^ +(?:RPATH|RUNPATH) +(\S+)$", out, re.M)
        self.versions = {}
        soname = None
        for line in out.partition("Version References:")[2].splitlines():
            m = re.match(r"^ +required from (\S+):$", line)
            if m:
                soname = m.group(1)
            m = re.match(r"^ +0x\w+ 0x\w+ \d+ (\S+)$", line)
            if m:
                self.versions.setdefault(soname, []).append(m.group(1))
        self.versions.pop(next((s for s in self.versions if s.startswith("ld-linux")), None), None)
        self.plain = []
        for line in run("readelf", "-W", "--dyn-syms", path).splitlines():
            f = line.split()
            if len(f) >= 8 and f[6] == "UND" and f[4] == "GLOBAL" and "@" not in f[7]:
                self.plain.append(f[7])


def split(version):
    """GLIBC_2.34: the kind GLIBC, the number 2.34."""
    m = re.match(r"^([A-Z]+)_([0-9][0-9._]*)$", version)
    return (m.group(1), m.group(2)) if m else (version, "")


def faults_of(binary, name, libraries, floor):
    """What of binary the distribution called name lacks."""
    for soname in binary.needed:
        if soname not in libraries:
            yield "needs %s, which %s lacks" % (soname, name)
    for soname, versions in binary.versions.items():
        highest = libraries.get(soname, {}).get("highest", {})
        for kind, n in map(split, versions):
            if kind not in highest:
                yield "needs symbols %s of %s, which has none in %s" % (kind, soname, name)
            elif number(n) > number(highest[kind]):
                yield "needs %s_%s of %s; %s ends with %s" % (kind, n, soname, name, highest[kind])
    for soname in binary.needed:
        if soname in floor and soname in libraries and \
                number(floor[soname]["version"]) > number(libraries[soname]["version"]):
            yield "floor.yaml was read from %s %s, %s has %s" % (soname, floor[soname]["version"], name,
                                                                libraries[soname]["version"])


def faults(path, lists, floor):
    binary = Binary(path)
    for p in binary.paths:
        yield "looks for libraries in %s" % p
    for name in ("al2023", "rhel9"):
        yield from faults_of(binary, name, lists[name], floor)
    known = {s for soname in binary.needed if soname in floor for s in floor[soname]["symbols"]}
    for symbol in sorted(set(binary.plain) - known):
        yield "calls %s, which floor.yaml does not list: which version of its library introduced it?" % symbol


def required(package):
    """{soname: {version}} of what the package's own dependencies say."""
    libs = {}
    for line in run("rpm", "-qp", "--requires", package).splitlines():
        m = re.match(r"^(lib[^(]+\.so[^(]*)\(([^)]*)\)", line)
        if m:
            libs.setdefault(m.group(1), set()).add(m.group(2))
    return {soname: versions - {""} for soname, versions in libs.items()}


def package_faults(package, lists, floor):
    needed, arch = {}, run("rpm", "-qp", "--qf", "%{ARCH}", package)
    with tempfile.TemporaryDirectory() as d:
        with subprocess.Popen(["rpm2cpio", package], stdout=subprocess.PIPE) as archive:
            subprocess.run(["cpio", "-idm", "--quiet", "--no-absolute-filenames"], stdin=archive.stdout, cwd=d, check=True)
        for folder, _, names in os.walk(d):
            for n in names:
                path = os.path.join(folder, n)
                with open(path, "rb") as f:
                    if f.read(4) != b"\x7fELF":
                        continue
                for fault in faults(path, lists, floor):
                    yield "%s: %s" % (path[len(d):], fault)
                binary = Binary(path)
                if binary.machine != MACHINES.get(arch):
                    yield "%s: for %s, in a package for %s" % (path[len(d):], binary.machine, arch)
                for soname in binary.needed:
                    needed.setdefault(soname, set()).update(binary.versions.get(soname, []))
    if required(package) != needed:
        yield "requires %s, its binaries need %s" % (required(package), needed)


def curl_faults(lists):
    """Options of libcurl are numbered as they came."""
    text = {}
    for top in ("src", "agent", "manager"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for n in names:
                if n.endswith((".c", ".h")):
                    with open(os.path.join(folder, n), encoding="utf-8") as f:
                        text[os.path.join(folder, n)] = f.read()
    options = sorted({o for t in text.values() for o in re.findall(r"\bCURLOPT_[A-Z0-9_]+", t)})
    assert len(options) > 20, "found too few of libcurl's options in the source"
    header = run("cc", "-E", "-P", "-", data="#include <curl/curl.h>\n")
    numbers = dict(re.findall(r"\b(CURLOPT_[A-Z0-9_]+)\b[^=;]*? = \d+ \+ (\d+)", header))
    for o in options:
        n = numbers.get(o)
        if n is None:
            yield "%s: <curl/curl.h> does not tell its number" % o
        elif int(n) > LAST_OPTION:
            if o not in lists["curl-later"]:
                yield "%s came after libcurl 7.76.1: guard it with curl_has(), and list it as curl-later" % o
            for path, t in text.items():
                if o in t and not re.search(r"if \(curl_has\(0x\w+\)\)[ {]*\n[^\n]*" + o, t):
                    yield "%s: %s is used without curl_has()" % (os.path.relpath(path, ROOT), o)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--packages", metavar="DIR")
    p.add_argument("--refuses", action="store_true")
    p.add_argument("binaries", nargs="*")
    args = p.parse_args()
    lists, floor = load("distributions.yaml"), load("floor.yaml")
    checks = [("source: libcurl's options", list(curl_faults(lists)))]
    for path in args.binaries:
        found = list(faults(path, lists, floor))
        if args.refuses:
            found = [] if any("libpcap.so.0.8" in f or "CURL_OPENSSL_4" in f for f in found) else ["the gate lets it through"]
        checks.append((path, found))
    if args.packages:
        rpms = sorted(n for n in os.listdir(args.packages) if n.endswith(".rpm") and not re.search(r"\.src\.rpm$|-debuginfo-", n))
        if not rpms:
            checks.append((args.packages, ["there are no RPMs"]))
        for n in rpms:
            checks.append((n, list(package_faults(os.path.join(args.packages, n), lists, floor))))
    failed = 0
    for name, found in checks:
        failed += bool(found)
        print("%s %s" % ("FAIL" if found else "ok  ", name))
        for f in found:
            print("     " + f)
    print("check_rpm_gate: %d passed, %d failed, 0 skipped" % (len(checks) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
