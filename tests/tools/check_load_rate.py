#!/usr/bin/env python3
"""How much of a rule file loads: check_load_rate.py --agent PATH --least PERCENT RULES[.gz]

Fails when less than PERCENT loads, when a rule is called invalid (the file is one that Suricata takes whole), or when
a rule that does not load is not named with a reason.
"""
import argparse
import gzip
import re
import subprocess
import sys
import tempfile


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--least", type=float, required=True)
    ap.add_argument("rules")
    args = ap.parse_args()
    with tempfile.NamedTemporaryFile(suffix=".rules") as plain:
        with (gzip.open if args.rules.endswith(".gz") else open)(args.rules, "rb") as f:
            text = f.read()
        plain.write(text)
        plain.flush()
        done = subprocess.run([args.agent, "check", "-S", plain.name], capture_output=True, text=True, errors="replace",
                              check=False)
    total = sum(line.startswith((b"alert ", b"drop ", b"pass ", b"reject ")) for line in text.splitlines())
    sums = re.search(r"^(\d+) rules loaded, (\d+) rejected \((\d+) invalid", done.stdout, flags=re.M)
    if not sums:
        print(f"no summary (exit code {done.returncode}): {done.stderr[-300:]}")
        return 1
    loaded, rejected, invalid = map(int, sums.groups())
    named = len(set(re.findall(r"^\S+:(\d+):\d+: unsupported: .+$", done.stderr, flags=re.M)))
    print(f"{loaded} of {total} rules loaded ({100 * loaded / total:.2f} %), {invalid} invalid, {named} named with a reason")
    return 0 if 100 * loaded >= args.least * total and not invalid and loaded + rejected == total and named == rejected else 1


if __name__ == "__main__":
    sys.exit(main())
