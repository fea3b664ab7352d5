#!/usr/bin/env python3
"""Makes agent/man/sekisho.yaml.5 from the agent's own table of keys: make_manual.py --agent PATH [--check]"""
import argparse
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "agent/man/sekisho.yaml.5")
HEAD = r""".\" Made by tests/tools/make_manual.py from `sekisho help --keys`: change the table of keys or that program.
.Dd November 23, 2026
.Dt SEKISHO.YAML 5
.Os
.Sh NAME
.Nm sekisho.yaml
.Nd configuration of sekisho
.Sh DESCRIPTION
A YAML file.
The dots of a key are nesting:
.Li stream.memcap
is
.Bd -literal -offset indent
stream:
  memcap: 64mb
.Ed
.Pp
Each key is optional.
A key that does not exist, or a value that it does not take, is an error that is reported with file, line and column,
and nothing of the file is taken.
Where Suricata has the same thing, the key has Suricata's name.
.Pp
Sizes are numbers with
.Li kb , mb
or
.Li gb ;
times are seconds or numbers with
.Li s , m , h , d
or
.Li w ;
lists are
.Li [a, b] .
Memory is fixed when the agent starts, and a worker has its own.
.Sh KEYS
.Bl -tag -width Ds
"""
TAIL = r""".El
.Sh FILES
.Pa /etc/sekisho/sekisho.yaml
.Sh SEE ALSO
.Xr sekisho 1
"""


def escape(text):
    text = text.replace("\\", "\\e").replace("'", "\\(aq").replace("-", "\\-")
    return "\\&" + text if text[:1] in ".'" else text


def entry(path, default, allowed, meaning):
    m = meaning if "." in meaning.split(":")[0].split()[0] else meaning[:1].upper() + meaning[1:]
    out = [f".It Cm {escape(path)}", escape(m) + ".", ".br"]
    if allowed:
        out.append(f"Value: {escape(allowed)}.")
    out.append("Default: " + (f"\\(lq{escape(default)}\\(rq" if default else "none") + ".")
    return "\n".join(out) + "\n"


def page(agent):
    lines = subprocess.run([agent, "help", "--keys"], capture_output=True, text=True, check=True).stdout.splitlines()
    return HEAD + "".join(entry(*line.split("\t")) for line in lines) + TAIL


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--check", action="store_true", help="compare with the file that is there")
    args = ap.parse_args()
    made = page(args.agent)
    if not args.check:
        with open(PAGE, "w", encoding="utf-8") as f:
            f.write(made)
        return 0
    if open(PAGE, encoding="utf-8").read() != made:
        print("agent/man/sekisho.yaml.5 is not what tests/tools/make_manual.py makes: run it with --agent PATH")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
