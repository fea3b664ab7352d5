#!/usr/bin/env python3
"""Makes agent/completion/sekisho.bash from the agent's table of verbs: make_completion.py --agent PATH [--check]"""
import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILE = os.path.join(ROOT, "agent/completion/sekisho.bash")
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


def run(*cmd):
    return subprocess.run(cmd, capture_output=True, text=True, check=True).stdout


def made(agent):
    verbs = [line.split("\t")[0] for line in run(agent, "help", "--table").splitlines()]
    out = HEAD % " ".join(verbs)
    for verb in verbs:
        lines = [l for l in run(agent, "help", verb).splitlines() if l.startswith("  ")]
        options = sorted({o for l in lines for o in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", l)})
        out += f'    {verb}) words="{" ".join(options)}" ;;\n'
    return out + f'    help) words="" ; mapfile -t COMPREPLY < <(compgen -W "{" ".join(verbs)}" -- "$cur") ; return ;;\n' + TAIL


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--check", action="store_true", help="compare with the file that is there")
    args = ap.parse_args()
    text = made(args.agent)
    if args.check:
        if open(FILE, encoding="utf-8").read() != text:
            print("agent/completion/sekisho.bash is not what tests/tools/make_completion.py makes: run it")
            return 1
        return 0
    with open(FILE, "w", encoding="utf-8") as f:
        f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
