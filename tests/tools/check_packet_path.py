#!/usr/bin/env python3
"""Every function() and file that docs/packet-path.md names exists, and stands in the file that the page says."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = "docs/packet-path.md"


def sources():
    files = subprocess.run(["git", "ls-files", "src", "agent"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [n for n in files.stdout.split() if n.endswith((".c", ".h"))]
    return {n: open(os.path.join(ROOT, n), encoding="utf-8").read() for n in names if os.path.exists(os.path.join(ROOT, n))}


def defined(text):
    """Functions with a body, and function pointers of structs (callbacks are steps of the path too)."""
    found = set(re.findall(r"^(?:[\w*]+ +)*\**(\w+)\((?:[^;{}]|\n)*?\)\n\{", text, flags=re.M))
    found |= set(re.findall(r"^(?:static )?inline [\w* ]+?\**(\w+)\(", text, flags=re.M))
    return found | set(re.findall(r"\(\*(\w+)\)\(", text))


def main():
    texts = sources()
    where = {}
    for name, text in texts.items():
        for function in defined(text):
            where.setdefault(function, set()).add(name)
    problems, named = [], 0
    page = open(os.path.join(ROOT, PAGE), encoding="utf-8").read()
    for number, line in enumerate(page.splitlines(), 1):
        for function in re.findall(r"`(\w+)\(\)`", line):
            named += 1
            if function not in where:
                problems.append(f"{PAGE}:{number}: there is no function {function}()")
        for path in re.findall(r"`((?:src|agent)/[\w./-]+)`", line):
            if not os.path.exists(os.path.join(ROOT, path)):
                problems.append(f"{PAGE}:{number}: there is no {path}")
        for function, path in re.findall(r"`(\w+)\(\)` \(`((?:src|agent)/[\w./-]+)`\)", line):
            if function in where and path not in where[function]:
                problems.append(f"{PAGE}:{number}: {function}() is not in {path} but in {', '.join(sorted(where[function]))}")
    if named < 30:
        problems.append(f"{PAGE} names {named} functions: too few to be the tour")
    for p in problems:
        print(p)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
