#!/usr/bin/env python3
"""The records of docs/events.md are what the agent writes: each console block is run, and prints what stands there. Its
records of blocks, which take a running agent, are compared by live_decide.py."""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = "docs/events.md"


def fences(kind):
    text = open(os.path.join(ROOT, PAGE), encoding="utf-8").read()
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.M | re.S)


def documented_blocks():
    return [json.loads(line) for fence in fences("json") for line in fence.splitlines()]


def keys(value, at=""):
    """The paths of all members: two records with the same paths have the same shape."""
    if isinstance(value, dict):
        return {at}.union(*(keys(v, f"{at}.{k}") for k, v in value.items()))
    return {at}


def run(command, agent, out):
    words = command.replace(" out/", f" {out}/").replace("-l out ", f"-l {out} ")
    words = re.sub(r"^sekisho ", agent + " ", words)
    return subprocess.run(["bash", "-c", words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def check(fence, agent):
    """What differs: [text]."""
    commands = [line[2:] for line in fence.splitlines() if line.startswith("$ ")]
    wanted = [line for line in fence.splitlines() if not line.startswith("$ ")]
    with tempfile.TemporaryDirectory() as out:
        for command in commands:
            done = run(command, agent, out)
            if done.returncode:
                return [f"{command}: {done.stderr.strip()}"]
    got = done.stdout.splitlines()
    if got == wanted and got:
        return []
    return [f"{commands[-1]}\n  prints {line}" for line in got] or [f"{commands[-1]} prints nothing"]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    agent = os.path.abspath(ap.parse_args().agent)
    if not shutil.which("jq"):
        print("jq is not installed")
        return 1
    examples = fences("console")
    problems = [p for fence in examples for p in check(fence, agent)]
    if len(examples) < 3:
        problems.append(f"{PAGE} has {len(examples)} examples")
    if {b["block"]["action"] for b in documented_blocks()} < {"set", "refused", "removed", "braked", "released"}:
        problems.append(f"{PAGE} lacks records of blocks")
    for p in problems:
        print(p)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
