#!/usr/bin/env python3
"""The demonstration: an attack is found, its source is blocked, everybody else goes on being served."""
import argparse
import os
import subprocess
import sys
import time

from bed import ATTACK, ATTACKER, ROOT, VISITOR, Bed, wait_until

RULES = ('drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"SQL injection: UNION SELECT"; flow:established,to_server; '
         'http.uri; content:"union"; nocase; content:"select"; nocase; distance:1; within:20; '
         'classtype:web-application-attack; sid:1; rev:1; metadata: sekisho_block 6s;)\n')


def title(text):
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def show(text, indent="   "):
    for line in text.rstrip().splitlines():
        print(indent + line, flush=True)


def request(bed, where, url):
    who = "attacker" if where == bed.attacker else "visitor "
    code = bed.fetch(where, url, seconds=1)
    answer = f"HTTP {code}" if code else "no answer"
    print(f"   {who} {ATTACKER if where == bed.attacker else VISITOR}  GET {url}  ->  {answer}", flush=True)
    return code


def expect(ok, what):
    if not ok:
        print(f"\nThis is not what the demo promises: {what}")
        sys.exit(1)


def blocked_and_explained(bed):
    block = bed.blocks()[0]
    ident = str(block["id"])
    print(f"   $ sekisho explain {ident}")
    done = bed.ctl("explain", ident)
    expect(done.returncode == 0, "the block is explained")
    show(done.stdout, "     ")
    print("   $ nft list table inet sekisho")
    table = bed.sh(bed.server, "nft", "list", "set", "inet", "sekisho", "block4").stdout
    show(table, "     ")
    expect(ATTACKER in table, "the attacker is in the nftables set")


def attack(bed):
    title("2. The attacker tries SQL injection")
    request(bed, bed.attacker, ATTACK)
    expect(wait_until(lambda: ATTACKER in (bed.elements() or {}), 3) is not None, "the attacker is blocked")
    expect(wait_until(lambda: bed.eve("alert"), 3) is not None, "there is an alert")
    alert = bed.eve("alert")[0]
    print(f"   alert: {alert['alert']['signature']} (sid {alert['alert']['signature_id']}) "
          f"from {alert['src_ip']}:{alert['src_port']}")
    title("3. It is blocked, and the block can be explained")
    blocked_and_explained(bed)


def after(bed):
    title("4. The attacker's next connection fails, the visitor's does not")
    expect(request(bed, bed.attacker, "/index.html") is None, "the attacker gets no answer")
    expect(request(bed, bed.visitor, "/index.html") == 200, "the visitor is served")
    title("5. The rule asked for six seconds; then the attacker may connect again")
    took = wait_until(lambda: bed.fetch(bed.attacker, "/index.html", 1) == 200, 15, 0.5)
    expect(took is not None, "the block expires")
    request(bed, bed.attacker, "/index.html")


def replay(bed):
    title("6. The starter rules on a capture file")
    pcap = os.path.join(ROOT, "pcaps/attacks.pcap")
    cmd = [bed.agent, "replay", "-S", os.path.join(ROOT, "rules/sekisho-starter.rules"), pcap]
    print("   $ sekisho replay -S rules/sekisho-starter.rules pcaps/attacks.pcap")
    done = subprocess.run(cmd, capture_output=True, text=True, check=False)
    lines = done.stdout.rstrip().splitlines()
    show("\n".join(lines[:5] + [f"... {len(lines) - 6} more lines ..."] + lines[-1:]), "     ")
    expect(done.returncode == 0, "the replay ends well")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    args = ap.parse_args()
    began = time.monotonic()
    with Bed(args.agent, rules=RULES, keep_on_stop=False) as bed:
        title("1. A web server in a network namespace, Sekisho beside it; ordinary requests")
        if not bed.start_agent():
            print(bed.agent_log())
            expect(False, "the agent starts")
        for where in (bed.attacker, bed.visitor):
            expect(request(bed, where, "/index.html") == 200, "ordinary requests are answered")
        attack(bed)
        after(bed)
        replay(bed)
        title("7. The end: SIGTERM, and nothing is left")
        code = bed.stop_agent()
        expect(code == 0 and bed.elements() is None, "the agent stops and takes its table with it")
        print("   agent stopped, table inet sekisho is gone")
    print(f"\nDone in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
