#!/usr/bin/env python3
"""Runs the end-to-end cases: tests/e2e/run.py --agent PATH [CASE...]

Each folder beside this file with a case.json is a case:
  about      one sentence
  pcap       capture, from the repository root; the command is then `replay -k all -l DIR -S RULES [args] PCAP`
  rules      rule file of the case's folder, or "starter" (rules/sekisho-starter.rules), or "basic" (basic.rules here)
  args       more arguments
  alerts     {sid: count}, exactly; a count "+" means one or more
  records    [{"match": {key.path: value, ...}, "count": N}]: EVE records with these values, exactly N ("+": some)
  sources    {sid: address}: every alert of this rule names the address as source or destination
  command    instead of pcap: the whole command line; {out} and {state} are empty folders, {case} the case's folder,
             {root} the repository
  exit       exit code (0)
  stderr     expression that the only line on standard error must match (exit 1: exactly one line; else none)
  lines      number of lines on standard error, when it is not that; 0: any number, and `stderr` must match one of them
  nobody     true: run as an unprivileged user (root needed, else skipped)
  seconds    limit (60)
With an exit code other than 0 nothing may be left in the output folder, and no table `inet sekisho` may exist anew.
Wherever there is a stats record, each packet and each flow of the capture must be in the ledger once.
"""
import argparse
import collections
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RULES = {"starter": os.path.join(ROOT, "rules/sekisho-starter.rules"), "basic": os.path.join(HERE, "basic.rules")}


class Failed(Exception):
    pass


def lookup(record, path):
    """The value at a dotted path; list items by number."""
    for key in path.split("."):
        if isinstance(record, list):
            record = record[int(key)] if key.isdigit() and int(key) < len(record) else None
        elif isinstance(record, dict):
            record = record.get(key)
        else:
            return None
    return record


def check_count(what, got, wanted):
    if got != wanted if wanted != "+" else got == 0:
        raise Failed(f"{what}: {got}, expected {'some' if wanted == '+' else wanted}")


def check_alerts(case, records):
    alerts = [r for r in records if r["event_type"] == "alert"]
    seen = collections.Counter(str(r["alert"]["signature_id"]) for r in alerts)
    wanted = case["alerts"]
    for sid in sorted(set(seen) | set(wanted)):
        check_count(f"alerts of {sid}", seen[sid], wanted.get(sid, 0))
    for sid, address in case.get("sources", {}).items():
        for r in alerts:
            if r["alert"]["signature_id"] == int(sid) and address not in (r["src_ip"], r["dest_ip"]):
                raise Failed(f"alert of {sid} names {r['src_ip']} and {r['dest_ip']}, not {address}")


def check_records(case, records):
    for want in case.get("records", []):
        got = sum(all(lookup(r, k) == v for k, v in want["match"].items()) for r in records)
        check_count(f"records with {json.dumps(want['match'])}", got, want["count"])


def check_ledger(records):
    for r in records:
        if r["event_type"] != "stats":
            continue
        packets, flows = dict(r["stats"]["ledger"]["packets"]), r["stats"]["ledger"]["flows"]
        sent = packets.pop("sent")
        check_count("frames that the worker took", r["stats"]["decoder"]["pkts"], sent)
        check_count("packets in the ledger", sum(packets.values()), sent)
        check_count("flows in the ledger", sum(flows.values()), r["stats"]["flow"]["total"])


def check_eve(case, path):
    if not os.path.exists(path):
        raise Failed("no eve.json")
    with open(path, encoding="utf-8") as f:
        records = [json.loads(line) for line in f]
    if "alerts" in case:
        check_alerts(case, records)
    check_records(case, records)
    check_ledger(records)


def have_table():
    nft = shutil.which("nft") or "/usr/sbin/nft"
    if os.geteuid() != 0 or not os.path.exists(nft):
        return False
    return subprocess.run([nft, "list", "table", "inet", "sekisho"], capture_output=True, check=False).returncode == 0


def command_of(case, agent, folder, out, state):
    if "command" in case:
        words = [w.replace("{out}", out).replace("{case}", folder)
                 .replace("{state}", state).replace("{root}", ROOT) for w in case["command"]]
    else:
        rules = case.get("rules", "basic")
        rules = RULES.get(rules) or os.path.join(folder, rules)
        words = ["replay", "-k", "all", "-l", out, "-S", rules] + case.get("args", []) + [os.path.join(ROOT, case["pcap"])]
    return [agent] + words


def as_nobody():
    user = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def check_result(case, done, out, had_table):
    errors = done.stderr.splitlines()
    code = case.get("exit", 0)
    if done.returncode != code:
        raise Failed(f"exit code {done.returncode}, expected {code}: {done.stderr[-300:]}")
    lines = case.get("lines", 1 if code == 1 else None)
    if lines is None and code == 0 and errors:
        raise Failed(f"standard error: {errors[0]}")
    if lines and len(errors) != lines:
        raise Failed(f"{len(errors)} lines on standard error, expected {lines}: {errors[:3]}")
    if "stderr" in case and not any(re.search(case["stderr"], e) for e in (errors if lines == 0 else errors[:1])):
        raise Failed(f"standard error {errors[:3]} does not match {case['stderr']!r}")
    if code != 0:
        if os.path.isdir(out) and os.listdir(out):
            raise Failed(f"left behind: {os.listdir(out)}")
        if have_table() and not had_table:
            raise Failed("table inet sekisho exists")


def run_case(agent, name, env):
    folder = os.path.join(HERE, name)
    with open(os.path.join(folder, "case.json"), encoding="utf-8") as f:
        case = json.load(f)
    if case.get("nobody") and os.geteuid() != 0:
        return "SKIP: needs root to become another user"
    with tempfile.TemporaryDirectory(prefix="sekisho-e2e-") as out, tempfile.TemporaryDirectory() as state:
        os.chmod(out, 0o777)
        had_table = have_table()
        cmd = command_of(case, agent, folder, out, state)
        done = subprocess.run(cmd, capture_output=True, text=True, errors="replace", cwd=folder, check=False,
                              timeout=case.get("seconds", 60), env=env, stdin=subprocess.DEVNULL,
                              preexec_fn=as_nobody if case.get("nobody") else None)
        check_result(case, done, out, had_table)
        if "stdout" in case and not re.search(case["stdout"], done.stdout, re.M):
            raise Failed(f"standard output does not match {case['stdout']!r}: {done.stdout[-200:]!r}")
        if case.get("exit", 0) == 0 and ("alerts" in case or "records" in case):
            check_eve(case, os.path.join(out, "eve.json"))
    return None


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent", required=True)
    ap.add_argument("-v", action="store_true", help="name cases that passed")
    ap.add_argument("case", nargs="*")
    args = ap.parse_args()
    agent = os.path.abspath(args.agent)
    names = args.case or sorted(d for d in os.listdir(HERE) if os.path.exists(os.path.join(HERE, d, "case.json")))
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:exitcode=99", UBSAN_OPTIONS="print_stacktrace=1")
    passed = failed = skipped = 0
    for name in names:
        try:
            skip = run_case(agent, name, env)
            problem = None
        except (Failed, subprocess.TimeoutExpired, json.JSONDecodeError) as e:
            skip, problem = None, e
        if problem:
            failed += 1
            print(f"FAIL e2e/{name}: {problem}")
        elif skip:
            skipped += 1
            print(f"e2e/{name}: {skip}")
        else:
            passed += 1
            if args.v:
                print(f"ok   e2e/{name}")
    print(f"e2e: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
