#!/usr/bin/env python3
"""Installs a build into an empty folder and looks at what is there: the whole list with modes, nothing outside of the
folder's places; what systemd says of the units (verify), and how much they leave exposed (security).

check_units.py --build DIR
"""
import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

EXPOSURE = {"sekisho": 4.0, "sekisho-drain": 2.0, "sekisho-manager": 2.0}
FILES = {
    "agent": {
        "usr/bin/sekisho": 0o755, "usr/libexec/sekisho/after-upgrade": 0o755, "etc/sekisho/sekisho.yaml": 0o640, "etc/logrotate.d/sekisho": 0o644,
        "usr/lib/systemd/system/sekisho.service": 0o644, "usr/lib/systemd/system/sekisho-drain.service": 0o644,
        "usr/lib/sysusers.d/sekisho.conf": 0o644,
        "usr/lib/tmpfiles.d/sekisho.conf": 0o644, "usr/share/bash-completion/completions/sekisho": 0o644,
        "usr/share/man/man1/sekisho.1": 0o644, "usr/share/man/man5/sekisho.yaml.5": 0o644,
        "usr/share/doc/sekisho/examples/limits.conf": 0o644},
    "manager": {
        "usr/bin/sekisho-manager": 0o755, "usr/libexec/sekisho-manager/after-upgrade": 0o755, "etc/sekisho/manager.yaml": 0o640,
        "usr/lib/systemd/system/sekisho-manager.service": 0o644, "usr/lib/sysusers.d/sekisho-manager.conf": 0o644,
        "usr/lib/tmpfiles.d/sekisho-manager.conf": 0o644, "usr/share/sekisho/aws-identity-certificates.pem": 0o644,
        "usr/share/bash-completion/completions/sekisho-manager": 0o644, "usr/share/man/man8/sekisho-manager.8": 0o644,
        "usr/share/man/man5/sekisho-manager.yaml.5": 0o644},
    "rules": {"usr/share/sekisho/rules/sekisho-starter.rules": 0o644},
}
DOCS = {"agent": "usr/share/doc/sekisho/", "manager": "usr/share/doc/sekisho-manager/", "rules": "usr/share/doc/sekisho-rules/"}


def install(build, component, dest):
    env = dict(os.environ, DESTDIR=dest)
    subprocess.run(["cmake", "--install", build, "--component", component], env=env, check=True, capture_output=True)
    return {os.path.relpath(os.path.join(d, f), dest): stat.S_IMODE(os.lstat(os.path.join(d, f)).st_mode)
            for d, _, files in os.walk(dest) for f in files}


def check_files(build, tmp):
    wrong = []
    for component, want in FILES.items():
        dest = os.path.join(tmp, component)
        os.mkdir(dest)
        have = install(build, component, dest)
        docs = [f for f in have if f.startswith(DOCS[component]) and f not in want]
        rest = {f: m for f, m in have.items() if f not in docs}
        wrong += [f"{component}: {f} is missing" for f in want if f not in rest]
        wrong += [f"{component}: {f} is not expected" for f in rest if f not in want]
        wrong += [f"{component}: {f} has mode {rest[f]:o}" for f in want if f in rest and rest[f] != want[f]]
        wrong += [f"{component}: {f} has mode {have[f]:o}" for f in docs if have[f] != 0o644]
        if not docs:
            wrong.append(f"{component}: has no documents")
    return wrong


def check_verify(tmp, component, name):
    """systemd wants to find the programs and pages that a unit names: they get their places in the folder."""
    root = os.path.join(tmp, component)
    unit = os.path.join(tmp, f"{name}.service")
    with open(os.path.join(root, f"usr/lib/systemd/system/{name}.service"), encoding="utf-8") as f:
        text = f.read()
    with open(unit, "w", encoding="utf-8") as f:
        f.write(text.replace("/usr/bin/", f"{root}/usr/bin/"))
    got = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    said = [line for line in (got.stdout + got.stderr).splitlines() if name in line]
    return [f"verify: {line}" for line in said] or ([f"verify of {name} failed: {got.stderr}"] if got.returncode else [])


def check_exposure(tmp, component, name):
    unit = os.path.join(tmp, component, f"usr/lib/systemd/system/{name}.service")
    got = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit], capture_output=True,
                         text=True, check=False, env=dict(os.environ, LC_ALL="C.UTF-8"))
    m = re.search(r"Overall exposure level for \S+: ([0-9.]+)", got.stdout)
    if m is None:
        return [f"security of {name}: {got.stderr}"]
    print(f"{name}.service: exposure {m[1]}, at most {EXPOSURE[name]}")
    return [] if float(m[1]) <= EXPOSURE[name] else [f"{name}.service is exposed: {m[1]}"]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    build = os.path.abspath(ap.parse_args().build)
    tmp = tempfile.mkdtemp(prefix="sekisho-units-")
    try:
        wrong = check_files(build, tmp)
        for component, name in (("agent", "sekisho"), ("agent", "sekisho-drain"), ("manager", "sekisho-manager")):
            wrong += check_verify(tmp, component, name) + check_exposure(tmp, component, name)
    finally:
        shutil.rmtree(tmp)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
