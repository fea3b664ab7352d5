#!/usr/bin/env python3
"""Makes a manual page of keys from a program's own table: agent/man/sekisho.yaml.5, manager/man/sekisho-manager.yaml.5.

make_manual.py --agent PATH | --manager PATH [--check]
"""
import argparse
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "agent/man/sekisho.yaml.5")
MANAGER_PAGE = os.path.join(ROOT, "manager/man/sekisho-manager.yaml.5")
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
Over the file stand the settings of this one instance, lines of
.Li KEY=VALUE
in
.Pa instance.conf
beside it, which
.Ql sekisho configure
writes; over these the policy of the fleet's manager, and over all the options of
.Xr sekisho 1 .
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
.Pa /etc/sekisho/sekisho.yaml ,
.Pa /etc/sekisho/instance.conf
.Sh SEE ALSO
.Xr sekisho 1
"""
MANAGER_HEAD = r""".\" Made by tests/tools/make_manual.py from `sekisho-manager help --keys`: change the table of keys or that program.
.Dd November 25, 2026
.Dt SEKISHO-MANAGER.YAML 5
.Os
.Sh NAME
.Nm manager.yaml
.Nd configuration of sekisho-manager
.Sh DESCRIPTION
A YAML file.
The dots of a key are nesting, and
.Li []
is an entry of a list:
.Li agents.heartbeat
and
.Li waf.targets[].region
are
.Bd -literal -offset indent
agents:
  heartbeat: 30s
waf:
  targets:
    - region: eu-west-1
.Ed
.Pp
Each key is optional.
A key that does not exist, or a value that it does not take, is an error that is reported with file, line and column,
and nothing of the file is taken.
Times are seconds or numbers with
.Li ms , s , m , h , d
or
.Li w .
.Pp
With
.Fl -set ,
a list is written
.Li a,b
or as in YAML:
.Dl --set 'waf.targets=[{region: eu-west-1, create: yes}]'
.Sh KEYS
.Bl -tag -width Ds
"""
MANAGER_TAIL = r""".El
.Sh FILES
.Pa /etc/sekisho/manager.yaml
.Sh SEE ALSO
.Xr sekisho 1 ,
.Xr sekisho-manager 8
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


def page(program, head=HEAD, tail=TAIL):
    lines = subprocess.run([program, "help", "--keys"], capture_output=True, text=True, check=True).stdout.splitlines()
    return head + "".join(entry(*line.split("\t")) for line in lines) + tail


def manager_page(program):
    return page(program, MANAGER_HEAD, MANAGER_TAIL)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    which = ap.add_mutually_exclusive_group(required=True)
    which.add_argument("--agent")
    which.add_argument("--manager")
    ap.add_argument("--check", action="store_true", help="compare with the file that is there")
    args = ap.parse_args()
    made, path = (page(args.agent), PAGE) if args.agent else (manager_page(args.manager), MANAGER_PAGE)
    if not args.check:
        with open(path, "w", encoding="utf-8") as f:
            f.write(made)
        return 0
    if open(path, encoding="utf-8").read() != made:
        print(f"{os.path.relpath(path, ROOT)} is not what tests/tools/make_manual.py makes: run it")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
