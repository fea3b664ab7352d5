#!/usr/bin/env python3
"""Compares sekisho(1) or sekisho-manager(8) with the program's own tables: each verb with its arguments, each option;
and sekisho.yaml(5) or sekisho-manager.yaml(5)."""
import argparse
import os
import re
import subprocess
import sys

import make_manual

ROOT = make_manual.ROOT


def run(*cmd):
    return subprocess.run(cmd, capture_output=True, text=True, check=True).stdout


def sections(text):
    """{verb and arguments: text} of the subsections of VERBS."""
    verbs = text.split("\n.Sh VERBS\n", 1)[1].split("\n.Sh ", 1)[0]
    parts = re.split(r"^\.Ss (.*)$", verbs, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def options_of(text):
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text))


def options_in_page(text):
    found = set()
    for line in re.findall(r"^.*\bFl .*$", text, flags=re.M):
        found |= {"-" + o for o in re.findall(r"\bFl (-?[a-zA-Z][\w-]*)", line)}
    return found


def check(agent, path="agent/man/sekisho.1"):
    problems, name = [], os.path.basename(path)
    page = sections(open(os.path.join(ROOT, path), encoding="utf-8").read())
    table = {}
    for line in run(agent, "help", "--table").splitlines():
        verb, arguments, _ = line.split("\t")
        table[f"{verb} {arguments}".strip()] = verb
    for missing in sorted(set(table) - set(page)):
        problems.append(f"{name} has no subsection '{missing}'")
    for extra in sorted(set(page) - set(table)):
        problems.append(f"{name} has a subsection '{extra}' that is no verb of the program")
    for heading in set(table) & set(page):
        helped = options_of("\n".join(l for l in run(agent, "help", *table[heading].split()).splitlines() if l.startswith("  ")
                                      or l.startswith("    ")))
        written = options_in_page(page[heading])
        for option in sorted(helped - written):
            problems.append(f"{name}: {table[heading]}: option {option} of the program is missing")
        for option in sorted(written - helped):
            problems.append(f"{name}: {table[heading]}: there is no option {option}")
    return problems


def unescape(text):
    return text.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


def check_ledger(agent):
    """Each class of the ledger stands in the page, in order, with the words of the agent."""
    text = open(os.path.join(ROOT, "agent/man/sekisho.1"), encoding="utf-8").read().split("\n.Sh LEDGER\n", 1)[1]
    text = text.split("\n.Sh ", 1)[0]
    page = [(unescape(name), unescape(" ".join(words.split())).rstrip(".").lower())
            for name, words in re.findall(r"^\.It Cm (\S+)\n((?:[^.].*\n)+)", text, flags=re.M)]
    table = [tuple(line.split("\t")[1:]) for line in run(agent, "help", "--ledger").splitlines()]
    table = [(name, " ".join(words.split()).lower()) for name, words in table]
    return [f"sekisho.1, LEDGER: {a} is not in the page, or out of place, or in other words" for a in table if a not in page] + \
        [f"sekisho.1, LEDGER: {a} is not in the agent" for a in page if a not in table] + \
        ([] if page == table else ["sekisho.1, LEDGER: the order differs"])


def check_agent(agent):
    problems = check(agent) + check_ledger(agent)
    if open(make_manual.PAGE, encoding="utf-8").read() != make_manual.page(agent):
        problems.append("sekisho.yaml.5 is not what tests/tools/make_manual.py makes: run it with --agent PATH")
    return problems


def check_manager(manager):
    problems = check(manager, "manager/man/sekisho-manager.8")
    if open(make_manual.MANAGER_PAGE, encoding="utf-8").read() != make_manual.manager_page(manager):
        problems.append("sekisho-manager.yaml.5 is not what tests/tools/make_manual.py makes: run it with --manager PATH")
    return problems


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    which = ap.add_mutually_exclusive_group(required=True)
    which.add_argument("--agent")
    which.add_argument("--manager")
    args = ap.parse_args()
    problems = check_agent(args.agent) if args.agent else check_manager(args.manager)
    for p in problems:
        print(p)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
