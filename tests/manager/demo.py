#!/usr/bin/env python3
"""The fleet's part of the demonstration (./dev demo): an attack on host A is blocked there, on host B, and in an IP set of AWS
WAF, which moto plays and awscli prints; and it ends in all three."""
import argparse
import os
import subprocess
import sys
import time

from bed import Tally, venv_tool, wait_until
from fleet import ADDRESS, MANAGER, MOTO, Fleet, can_run

LASTS = 25
RULES = ('drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"SQL injection: UNION SELECT"; flow:established,to_server; '
         'http.uri; content:"union"; nocase; content:"select"; nocase; distance:1; within:20; '
         f'classtype:web-application-attack; sid:1; rev:1; metadata: sekisho_block {LASTS}s;)\n')
ATTACKER, VISITOR = "10.78.0.1", "10.78.0.2"


def title(text):
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def expect(ok, what):
    if not ok:
        print(f"\nThis is not what the demo promises: {what}")
        sys.exit(1)


def show(text, lead="     ", most=40):
    lines = text.rstrip().splitlines()
    for line in lines[:most]:
        print(lead + line)
    if len(lines) > most:
        print(f"{lead}... {len(lines) - most} more lines")
    sys.stdout.flush()


def typed(command, done, where=""):
    print(f"   {where}$ {command}", flush=True)
    if isinstance(done, subprocess.CompletedProcess):
        expect(done.returncode == 0, f"{command}: {done.stderr}")
        done = done.stdout
    show(done or "")


class Shown(Fleet):
    """The fleet, each command printed as it is given."""

    def start_manager(self):
        title("9. A fleet: hosts A and B, a manager, and AWS (moto, which checks signatures), each in a network namespace")
        print(f"   manager {MANAGER}, host A {ADDRESS['A']} and 10.77.1.1, host B {ADDRESS['B']} and 10.77.5.1, AWS {MOTO}")
        self.make_manager()
        typed(f"sekisho-manager init --name {MANAGER}", self.manager.run("init", "--name", MANAGER), "manager ")
        self.manager.start()
        print("   manager $ sekisho-manager run &", flush=True)

    def start_hosts(self):
        token, fingerprint = self.manager.token("--uses", "2"), self.manager.fingerprint()
        typed("sekisho-manager token create --uses 2 > token", "", "manager ")
        for host in (self.a, self.b):
            done = host.enrol(self.manager.url, token, fingerprint)
            typed(f"sekisho enroll --manager {self.manager.url} --token-file token --ca-fingerprint {fingerprint[:16]}...",
                  done, f"host {host.letter}  ")
            print(f"   host {host.letter}  $ sekisho run &", flush=True)
            expect(host.start_agent() and wait_until(host.uplinked, 20) is not None, f"agent {host.letter} starts")
        wait_until(lambda: all(a["state"] == "active" for a in self.manager.json("agents")), 5)
        typed("sekisho-manager agents", self.manager.run("agents"), "manager ")


def nft(f, host):
    typed("nft list set inet sekisho block4", host.sh(host.server, "nft", "list", "set", "inet", "sekisho", "block4"),
          f"host {host.letter}  ")


def aws(f):
    ident = f.sets.ids["sekisho-v4-0"]
    words = ["wafv2", "get-ip-set", "--scope", "REGIONAL", "--name", "sekisho-v4-0", "--id", ident]
    done = f.moto.inside(venv_tool("aws"), "--endpoint-url", f.moto.endpoint, *words, "--query", "IPSet.Addresses", "--output",
                         "json")
    typed("aws " + " ".join(words) + " --query IPSet.Addresses", done)
    return done.stdout


def attack(f):
    title("10. An attack on host A")
    print(f"   attacker {ATTACKER}  GET http://10.77.5.1/index.html  ->  HTTP "
          f"{f.attack(ATTACKER, '/index.html', '10.77.5.1')}, from host B")
    began = time.monotonic()
    print(f"   attacker {ATTACKER}  GET http://10.77.1.1/index.html?id=1%20UNION%20SELECT%201  ->  {f.attack(ATTACKER)}")
    took = {"host A": wait_until(lambda: ATTACKER in (f.a.elements() or {}), 5, 0.01)}
    took["host B"] = wait_until(lambda: ATTACKER in (f.b.elements() or {}), 5, 0.02)
    wait_until(lambda: ATTACKER + "/32" in f.ip_set(), 8, 0.05)
    total = time.monotonic() - began
    expect(None not in took.values() and ATTACKER + "/32" in f.ip_set(), "all three have it")
    print(f"   blocked on A, on B and in AWS WAF {total:.1f} s after the request (tests/manager/chain.py measures it)")


def in_all_three(f):
    title("11. It is blocked in all three, and each can say why")
    expect(ATTACKER in aws(f), "awscli prints the address")
    nft(f, f.a)
    nft(f, f.b)
    typed(f"sekisho explain {ATTACKER}", f.b.ctl("explain", ATTACKER), "host B  ")
    expect(f.attack(ATTACKER, "/index.html", "10.77.5.1") is None, "host B does not answer the attacker")
    print(f"   attacker {ATTACKER}  GET http://10.77.5.1/index.html  ->  no answer from host B, which it never attacked")
    expect(f.attack(VISITOR, "/index.html", "10.77.5.1") == 200, "others are served")
    print(f"   visitor  {VISITOR}  GET http://10.77.5.1/index.html  ->  HTTP 200")
    typed("sekisho-manager entries", f.manager.run("entries"), "manager ")


def ends(f):
    title(f"12. The rule asked for {LASTS} seconds: it ends everywhere")
    left = min((f.a.elements() or {}).get(ATTACKER, 0), LASTS)
    print(f"   {left} s are left ...", flush=True)
    gone = wait_until(lambda: ATTACKER not in (f.a.elements() or {}) and ATTACKER not in (f.b.elements() or {}) and
                      ATTACKER + "/32" not in f.ip_set(), LASTS + 8, 0.05)
    expect(gone is not None, "the block ends in all three")
    nft(f, f.b)
    expect(ATTACKER not in aws(f), "awscli prints it no more")


def by_hand(f):
    title("13. What an operator does at the manager reaches the hosts and AWS WAF too")
    typed("sekisho-manager block 203.0.113.0/24 --for 1h --reason \"seen elsewhere\"",
          f.manager.run("block", "203.0.113.0/24", "--for", "1h", "--reason", "seen elsewhere"), "manager ")
    took = wait_until(lambda: any(k.startswith("203.0.113.0") for k in f.b.elements() or {}) and
                      "203.0.113.0/24" in f.ip_set(), 8)
    expect(took is not None, "it is blocked in all three")
    typed("sekisho blocks", f.b.ctl("blocks"), "host B  ")
    aws(f)
    typed("sekisho-manager waf status", f.manager.run("waf", "status"), "manager ")
    typed("sekisho-manager audit", f.manager.run("audit"), "manager ")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--manager", required=True)
    args = ap.parse_args()
    if not can_run(Tally("demo"), "the fleet and AWS WAF"):
        return 0
    with Shown(args.agent, args.manager, rules=RULES) as f:
        attack(f)
        in_all_three(f)
        ends(f)
        by_hand(f)
        title("14. The end")
        expect(f.a.stop_agent() == 0 and f.b.stop_agent() == 0 and f.manager.stop() == 0, "agents and manager stop")
        print("   agents and manager have stopped")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("AWS_PAGER", "")
    sys.exit(main())
