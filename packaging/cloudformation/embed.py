#!/usr/bin/env python3
"""Puts packaging/userdata/amazon-linux-2023.sh into agents-asg.yaml, whose launch template has it as user data.

    embed.py            writes it
    embed.py --check    exit 1 when it is not what would be written
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(HERE, "../userdata/amazon-linux-2023.sh")
TEMPLATE = os.path.join(HERE, "agents-asg.yaml")
BEGIN = "                # From here to the end of the block: packaging/userdata/amazon-linux-2023.sh, put here by embed.py\n                - |\n"
END = "          - !Ref AWS::NoValue\n  Group:\n"
MARK = "# ---- nothing to set below ----\n"


def embed(template, script):
    settings, mark, body = script.partition(MARK)
    if not mark:
        sys.exit("embed.py: %s has no line `%s`" % (SCRIPT, MARK.strip()))
    head, begin, rest = template.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit("embed.py: %s has no place for the script" % TEMPLATE)
    for name in re.findall(r"^([A-Z0-9_]+)=", settings, re.M):
        if name + "='" not in head:
            sys.exit("embed.py: agents-asg.yaml does not set %s" % name)
    lines = "".join(" " * 18 + line + "\n" if line else "\n" for line in body.strip("\n").split("\n"))
    return head + begin + lines + end + tail


def main():
    with open(SCRIPT, encoding="utf-8") as f:
        script = f.read()
    with open(TEMPLATE, encoding="utf-8") as f:
        template = f.read()
    new = embed(template, script)
    if "--check" in sys.argv[1:]:
        if new != template:
            print("packaging/cloudformation/agents-asg.yaml is not what embed.py makes: run it")
        return int(new != template)
    with open(TEMPLATE, "w", encoding="utf-8") as f:
        f.write(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
