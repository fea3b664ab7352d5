#!/usr/bin/env python3
"""Scores, active clients and floods on the running kernel, with real nginx and curl; see bed.py for the scene."""
import argparse
import subprocess
import sys

from bed import ATTACKER, SERVER_V, VISITOR, Bed, Tally, wait_until

RULE = ('alert http $EXTERNAL_NET any -> $HOME_NET any (msg:"a quote and a comment"; flow:established,to_server; http.uri; '
        'content:"\'--"; priority:1; sid:1; rev:1;)\n')
PROBE = "/index.html?id=1'--"
SETTINGS = "decide:\n  flood:\n    window: 2s\n    host-rate: 40\n"

# So many connections, one after the other, as a program makes them that does nothing else.
CONNECT = "import socket, sys\nfor _ in range(int(sys.argv[2])):\n    socket.create_connection((sys.argv[1], 80), 1).close()\n"


def active(bed):
    return (bed.status() or {}).get("brake", {}).get("active_clients")


def scores(bed, t):
    for _ in range(2):
        bed.fetch(bed.attacker, PROBE)
        bed.fetch(bed.visitor, PROBE)
    t.check("two alerts each are in eve.json", wait_until(lambda: len(bed.eve("alert")) == 4) is not None, len(bed.eve("alert")))
    t.check("and block nobody", bed.elements() == {} and bed.fetch(bed.attacker, "/index.html") == 200, bed.elements())
    bed.fetch(bed.attacker, PROBE)
    t.check("the third one blocks", bed.wait_blocked(ATTACKER) is not None, bed.elements())
    t.check("its client cannot connect any more", bed.fetch(bed.attacker, "/index.html", 1) is None)
    t.check("the other client is served", bed.fetch(bed.visitor, "/index.html") == 200 and VISITOR not in bed.elements())
    text = bed.ctl("explain", ATTACKER).stdout
    t.check("`explain` tells the score and its three alerts", "120" in text and "100" in text and text.count("1:1") >= 3, text)


def clients(bed, t):
    t.check("the two clients are counted as active", wait_until(lambda: active(bed) == 2) is not None, active(bed))
    with open(bed.conf, "a", encoding="utf-8") as f:
        f.write("    action: block\n")
    t.check("a reload that makes a new engine succeeds", bed.ctl("reload").returncode == 0)
    t.check("and does not forget them", wait_until(lambda: active(bed) != 2, 2.5) is None, active(bed))


def floods(bed, t):
    connect = subprocess.Popen(["ip", "netns", "exec", bed.visitor, sys.executable, "-c", CONNECT, SERVER_V, "100000"],
                               stderr=subprocess.DEVNULL)
    took = bed.wait_blocked(VISITOR, 10)
    t.check("who opens connections without end is blocked", took is not None, bed.elements())
    connect.wait(30)
    t.check("and its program fails", connect.returncode != 0)
    t.check("it is told once", wait_until(lambda: bed.eve("flood")) is not None and len(bed.eve("flood")) == 1, bed.eve("flood"))
    flood = bed.eve("flood")[0]["flood"]
    t.check("with its rate", flood["prefix"] == VISITOR and flood["level"] == "host" and flood["limit"] == 40 and
            flood["rate"] > 40 and flood["action"] == "block", flood)
    text = bed.ctl("explain", VISITOR).stdout
    t.check("`explain` tells the flood", "flood" in text and "40" in text, text)
    t.check("`status` counts it", bed.counter("decide.floods") == 1, bed.counter("decide.floods"))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--agent", required=True)
    args = ap.parse_args()
    t = Tally("score")
    with Bed(args.agent, RULE, extra=SETTINGS) as bed:
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()):
            scores(bed, t)
            clients(bed, t)
            floods(bed, t)
            t.check("it ends in order", bed.stop_agent() == 0, bed.agent_log())
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
