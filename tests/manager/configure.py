#!/usr/bin/env python3
"""`sekisho configure`: settings from tags, environment and command line, and what the agent makes of them.

    configure.py --agent PATH
"""
import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile

from aws_fake import Fake
from bed import Tally, wait_until
from uplink_role import Agent


class Host(Agent):
    def __init__(self, program, folder):
        os.mkdir(folder)
        super().__init__(program, folder, None)
        self.file = os.path.join(folder, "instance.conf")

    def set(self, *words, env=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SEKISHO_SET_")}
        return subprocess.run([self.program, "configure", "-c", self.conf, *words], capture_output=True, text=True, check=False,
                              env=dict(clean, **(env or {})), timeout=60)

    def written(self):
        return open(self.file, encoding="utf-8").read() if os.path.exists(self.file) else None

    def settings(self):
        return {s["setting"]: s["origin"] for s in self.status().get("settings", [])}


def by_hand(t, h):
    r = h.set()
    t.check("hand: none yet", r.returncode == 0 and "no settings" in r.stdout, (r.stdout, r.stderr))
    r = h.set("decide.dry-run=yes", "vars.address-groups.HOME_NET=[10.0.0.0/8,192.0.2.1]")
    t.check("hand: written, and said", r.returncode == 0 and "decide.dry-run=yes  (command line)" in r.stdout and
            "not running" in r.stdout and "\ndecide.dry-run=yes\n" in h.written(), (r.stdout, r.stderr))
    t.check("hand: root's own", stat.S_IMODE(os.stat(h.file).st_mode) == 0o600)
    r = h.ask("check")
    t.check("hand: check names it, with its origin and its line", r.returncode == 0 and
            f"{h.file}:4: decide.dry-run=yes  (command line)" in r.stdout, (r.stdout, r.stderr))
    before = h.written()
    for words, word in ((("nonsense",), "KEY=VALUE"), (("rule-files=/etc/passwd",), "may not be set so"),
                        (("never=0.0.0.0/0",), "may not be set so"), (("proxies.http=0.0.0.0/0",), "may not be set so"),
                        (("guard.user=root",), "may not be set so"), (("capture.workers=many",), "capture.workers"),
                        (("decide.block-duration=30d", "decide.max-block-duration=1d"), "max-block-duration"),
                        (("decide.dry-run=yes\nguard.user=root",), "control"), (("=x",), "KEY=VALUE"),
                        (("capture.ring-size=" + "9" * 5000,), "capture.ring-size")):
        r = h.set(*words)
        t.check(f"hand: {words[0][:32]!r} changes nothing", r.returncode == 1 and word in r.stderr and h.written() == before,
                (r.returncode, r.stderr))
    for words in (("--nothing",), ("--clear", "a=b")):
        t.check(f"hand: {words[0]} {len(words)}", h.set(*words).returncode == 2)
    r = h.set("--clear")
    t.check("hand: none any more", r.returncode == 0 and h.written() is None, (r.stdout, r.stderr))
    keys = h.set("--list").stdout.split()
    known = {line.split("\t")[0] for line in subprocess.run([h.program, "help", "--keys"], capture_output=True, text=True,
                                                            check=True).stdout.splitlines()}
    t.check("hand: every key that may be set so is one", len(keys) > 10 and all(
        k in known or k.startswith("vars.address-groups.") for k in keys), set(keys) - known)
    names = {k.upper().replace(".", "_").replace("-", "_") for k in keys}
    t.check("hand: and has a variable of its own", len(names) == len(keys))


def broken(t, h):
    for what, text, place in (("no setting", "# x\nhello\n", ":2:1: error"), ("a wrong value", "\ncapture.workers=many\n", ":2:17: error"),
                              ("an unknown key", "capture.wokers=2\n", ":1:1: error"),
                              ("one that does not fit another", "capture.block-size=3mb\n", ":1:")):
        with open(h.file, "w", encoding="ascii") as f:
            f.write(text)
        r = h.ask("check")
        t.check(f"broken: {what}: file, line, column", r.returncode == 1 and h.file + place in r.stderr, r.stderr)
    os.remove(h.file)
    os.mkdir(h.file)
    r = h.ask("check")
    t.check("broken: a folder", r.returncode == 1 and h.file in r.stderr, r.stderr)
    os.rmdir(h.file)


def from_environment(t, h):
    r = h.set("--from-environment", env={"SEKISHO_SET_DECIDE_DRY_RUN": "yes", "SEKISHO_SET_CAPTURE_WORKERS": "2"})
    t.check("environment: works", r.returncode == 0 and "# environment SEKISHO_SET_CAPTURE_WORKERS\ncapture.workers=2\n" in
            h.written(), (r.stderr, h.written()))
    r = h.set("--from-environment", "capture.workers=3", env={"SEKISHO_SET_CAPTURE_WORKERS": "2"})
    t.check("environment: an argument counts more", r.returncode == 0 and "# command line\ncapture.workers=3\n" in h.written() and
            "workers=2" not in h.written(), h.written())
    before = h.written()
    for name in ("SEKISHO_SET_RULE_FILES", "SEKISHO_SET_NOTHING", "SEKISHO_SET_"):
        r = h.set("--from-environment", env={name: "x"})
        t.check(f"environment: {name}", r.returncode == 1 and name in r.stderr and h.written() == before, r.stderr)
    h.set("--clear")


def from_tags(t, h, aws):
    i = aws.instance("i-00000000000000001")
    words = ("--from-tags", "--imds", i.url)
    r = h.set(*words)
    t.check("tags: not in the metadata", r.returncode == 1 and "instance-metadata-tags enabled" in r.stderr, r.stderr)
    i.tags = {"Name": "web-1", "sekisho:decide.dry-run": "yes", "team": "x", "sekisho:decide.score.threshold": "40"}
    r = h.set(*words)
    t.check("tags: works, and others are let be", r.returncode == 0 and "# tag sekisho:decide.dry-run\ndecide.dry-run=yes\n" in
            h.written() and "Name" not in h.written(), (r.stderr, h.written()))
    before = h.written()
    for tag, value in (("sekisho:decide.dryrun", "yes"), ("sekisho:never", "0.0.0.0/0"), ("sekisho:decide.dry-run", "perhaps"),
                       ("sekisho:", "x"), ("sekisho:a b", "x"), ("sekisho:../../x", "x")):
        i.tags[tag] = value
        r = h.set(*words)
        t.check(f"tags: {tag}={value}", r.returncode == 1 and tag in r.stderr and h.written() == before, r.stderr)
        if tag == "sekisho:decide.dry-run":
            i.tags[tag] = "yes"
        else:
            del i.tags[tag]
    i.tags = {"Name": "web-1"}
    r = h.set(*words)
    t.check("tags: none of ours", r.returncode == 0 and h.written() is None, r.stderr)
    r = h.set("--from-tags", "--imds", "http://127.0.0.1:1")
    t.check("tags: no metadata service", r.returncode == 1 and "metadata" in r.stderr, r.stderr)


def running(t, h):
    h.set("decide.dry-run=yes", "decide.block-duration=10m")
    h.start()
    both = {"decide.dry-run=yes": "command line", "decide.block-duration=10m": "command line"}
    t.check("running: the agent has them from its start", h.settings() == both and h.status().get("dry_run"), h.settings())
    t.check("running: status shows them", "decide.dry-run=yes  (command line)" in h.ask("status").stdout)
    r = h.set("decide.dry-run=yes", "decide.block-duration=20m")
    both["decide.block-duration=20m"] = both.pop("decide.block-duration=10m")
    t.check("running: it takes others up, also while it is loading", r.returncode == 0 and "has taken it up" in r.stdout and
            h.settings() == both, (r.stdout, r.stderr, h.settings()))
    h.ask("block", "203.0.113.5")
    until = {b["target"]: b for b in json.loads(h.ask("blocks", "--json").stdout or "[]")}
    t.check("running: and works with them", h.status().get("dry_run") is True and "203.0.113.5" in until, until)
    r = h.set("decide.dry-run=no", "decide.block-duration=20m")
    t.check("running: what changes with the next start only is said, and status tells what is in force", r.returncode == 0 and
            "next start" in r.stderr and h.settings() == both, (r.stdout, r.stderr, h.settings()))
    with open(h.file, "w", encoding="ascii") as f:
        f.write("capture.workers=many\n")
    r = h.ask("reload")
    t.check("running: a broken file leaves the old ones in force", r.returncode == 1 and "instance.conf:1:" in r.stderr and
            h.settings() == both, (r.stderr, h.settings()))
    h.stop()


def run(args, t):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder = tempfile.mkdtemp(prefix="configure-")
    os.chmod(folder, 0o755)
    h = Host(args.agent, os.path.join(folder, "host"))
    try:
        by_hand(t, h)
        broken(t, h)
        from_environment(t, h)
        with Fake() as aws:
            from_tags(t, h, aws)
        running(t, h)
    finally:
        h.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    args = p.parse_args()
    args.agent = os.path.abspath(args.agent)
    t = Tally("configure")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode != 0:
        t.skip("configure", "needs root and a network namespace")
        return t.end()
    if "CONFIGURE_INSIDE" not in os.environ:
        env = dict(os.environ, CONFIGURE_INSIDE="1")
        return subprocess.run(["unshare", "-n", sys.executable, "-B", *sys.argv], env=env, check=False).returncode
    run(args, t)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
