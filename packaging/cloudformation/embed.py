#!/usr/bin/env python3
"""Puts packaging/userdata/amazon-linux-2023.sh into agents-asg.yaml, whose launch template has it as user data.

What the template does not set itself keeps the script's default.

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
    defaults = [m.group() for m in re.finditer(r"^([A-Z0-9_]+)='.*'\n", settings, re.M) if m.group(1) + "='" not in head]
    body = "".join(defaults) + body
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
