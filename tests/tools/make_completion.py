#!/usr/bin/env python3
"""Makes a program's completion for bash from its table of verbs: agent/completion/sekisho.bash and
manager/completion/sekisho-manager.bash.

make_completion.py --agent PATH | --manager PATH [--check]
"""
import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILE = os.path.join(ROOT, "agent/completion/sekisho.bash")
MANAGER_FILE = os.path.join(ROOT, "manager/completion/sekisho-manager.bash")
HEAD = """# shellcheck shell=bash
# Completion of `sekisho` for bash. Made by tests/tools/make_completion.py from `sekisho help`.
_sekisho() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]-} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "%s help" -- "$cur")
    return
  fi
  case $prev in
    --mode) words="detect prevent" ;;
    -k) words="none all" ;;
    -i | --interface) words="auto $(ls /sys/class/net)" ;;
  esac
  if [ -n "$words" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    return
  fi
  case $verb in
"""
TAIL = """  esac
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}
complete -o filenames -F _sekisho sekisho
"""
MANAGER_HEAD = """# shellcheck shell=bash
# Completion of `sekisho-manager` for bash. Made by tests/tools/make_completion.py from `sekisho-manager help`.
_sekisho_manager() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]-} second=${COMP_WORDS[2]-} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "%s help" -- "$cur")
    return
  fi
  if [ "$verb" = help ]; then
    mapfile -t COMPREPLY < <(compgen -W "%s" -- "$cur")
    return
  fi
  if [ "$COMP_CWORD" = 2 ]; then
    case $verb in
%s    esac
  fi
  case $prev in
    --kind) words="enrol operator" ;;
    --role) words="read admin" ;;
    --state) words="active silent revoked retired" ;;
    --uses) words="1 10 100 unlimited" ;;
  esac
  if [ -n "$words" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    return
  fi
  case "$verb $second" in
"""


def run(*cmd):
    return subprocess.run(cmd, capture_output=True, text=True, check=True).stdout


def options_of(program, verb):
    lines = [l for l in run(program, "help", *verb.split()).splitlines() if l.startswith("  ")]
    return sorted({o for l in lines for o in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", l)})


def verbs_of(program):
    return [line.split("\t")[0] for line in run(program, "help", "--table").splitlines()]


def made(agent):
    verbs = verbs_of(agent)
    out = HEAD % " ".join(verbs)
    for verb in verbs:
        out += f'    {verb}) words="{" ".join(options_of(agent, verb))}" ;;\n'
    return out + f'    help) words="" ; mapfile -t COMPREPLY < <(compgen -W "{" ".join(verbs)}" -- "$cur") ; return ;;\n' + TAIL


def made_manager(manager):
    verbs = verbs_of(manager)
    firsts = list(dict.fromkeys(v.split()[0] for v in verbs))
    seconds = {f: [v.split()[1] for v in verbs if v.startswith(f + " ")] for f in firsts}
    inner = "".join(f'      {f}) words="{" ".join(s)}" ;;\n' for f, s in seconds.items() if s)
    out = MANAGER_HEAD % (" ".join(firsts), " ".join(firsts), inner)
    for verb in verbs:
        pattern = f'"{verb}"*' if " " in verb else f'"{verb} "*'
        out += f'    {pattern}) words="{" ".join(options_of(manager, verb))}" ;;\n'
    return out + TAIL.replace("_sekisho sekisho", "_sekisho_manager sekisho-manager")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    which = ap.add_mutually_exclusive_group(required=True)
    which.add_argument("--agent")
    which.add_argument("--manager")
    ap.add_argument("--check", action="store_true", help="compare with the file that is there")
    args = ap.parse_args()
    text, path = (made(args.agent), FILE) if args.agent else (made_manager(args.manager), MANAGER_FILE)
    if args.check:
        if open(path, encoding="utf-8").read() != text:
            print(f"{os.path.relpath(path, ROOT)} is not what tests/tools/make_completion.py makes: run it")
            return 1
        return 0
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
