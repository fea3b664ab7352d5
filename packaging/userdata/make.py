#!/usr/bin/env python3
"""Makes user data for each platform, as a script and as cloud-config, from core.sh.in, fetch.py, apt.sh.in and
dnf.sh.in.

    make.py            writes PLATFORM.sh and PLATFORM.yaml beside itself; ../cloudformation/embed.py then takes one over
    make.py --check    exit 1 when one of them is not what would be written
    make.py --print debian.sh [--set SEKISHO_MANAGER=https://...]...    one of them, with settings filled in
"""
import argparse
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PLATFORMS = {"amazon-linux-2023": ("Amazon Linux 2023", "dnf"), "rhel-9": ("RHEL 9 and its kin", "dnf"),
             "ubuntu": ("Ubuntu", "apt"), "debian": ("Debian", "apt")}
EC2_MAX = 16384  # bytes of user data, before it is encoded
CLOUD_HEAD = """#cloud-config
# The same as the script of this name: settings are at its head.
write_files:
  - path: /var/lib/cloud/sekisho-userdata.sh
    permissions: '0700'
    content: |
"""
CLOUD_TAIL = """runcmd:
  - [/var/lib/cloud/sekisho-userdata.sh]
"""


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read()


def script(platform):
    title, installer = PLATFORMS[platform]
    parts = {"PLATFORM": title, "FETCH": read("fetch.py").rstrip("\n"), "INSTALL": read(installer + ".sh.in").rstrip("\n")}
    return re.sub(r"@([A-Z]+)@", lambda m: parts[m.group(1)], read("core.sh.in"))


def fill(text, settings):
    for s in settings:
        key, sep, value = s.partition("=")
        if not sep or not re.search(rf"^{re.escape(key)}='", text, re.M):
            sys.exit(f"make.py: --set {s}: the script has no such setting")
        if re.search(r"['\n\r]", value):
            sys.exit(f"make.py: --set {key}: no quotes and no lines")
        text = re.sub(rf"^{re.escape(key)}='.*'$", lambda _, line=f"{key}='{value}'": line, text, flags=re.M)
    return text


def make(name, settings=()):
    platform, kind = os.path.splitext(name)
    if platform not in PLATFORMS or kind not in (".sh", ".yaml"):
        sys.exit(f"make.py: {name}: one of {', '.join(PLATFORMS)}, with .sh or .yaml")
    text = fill(script(platform), settings)
    if kind == ".yaml":
        body = "".join("      " + line + "\n" if line else "\n" for line in text.rstrip("\n").split("\n"))
        text = CLOUD_HEAD + body + CLOUD_TAIL
    if len(text.encode()) > EC2_MAX:
        sys.exit(f"make.py: {name}: {len(text.encode())} bytes: EC2 takes {EC2_MAX}")
    return text


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true")
    p.add_argument("--print", metavar="NAME", dest="name")
    p.add_argument("--set", metavar="KEY=VALUE", dest="settings", action="append", default=[])
    args = p.parse_args()
    if args.name:
        sys.stdout.write(make(args.name, args.settings))
        return 0
    stale = []
    for name in (platform + kind for platform in PLATFORMS for kind in (".sh", ".yaml")):
        text, path = make(name), os.path.join(HERE, name)
        if args.check:
            stale += [name] if not os.path.exists(path) or read(name) != text else []
            continue
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o755 if name.endswith(".sh") else 0o644)
    for name in stale:
        print(f"packaging/userdata/{name} is not what make.py makes: run it")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
