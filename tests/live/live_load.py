#!/usr/bin/env python3
"""5,000 requests a second: every packet is seen, and what status says agrees with the interfaces and with wrk."""
import argparse
import json
import os
import re
import sys
import time

from bed import SERVER_V, Bed, Tally

LUA = "function delay() return 35 end\n"  # 200 connections, one request about every 37 ms each: over 5,000 a second
ATTEMPTS = 3  # of reaching the rate, on a machine that has other things to do
SECONDS = 8


def interface_packets(bed):
    links = json.loads(bed.sh(None, "ip", "-n", bed.server, "-s", "-j", "link").stdout)
    return sum(x["stats64"][way]["packets"] for x in links if x["ifname"].startswith("eth") for way in ("rx", "tx"))


def others_busy():
    """More work is waiting than nginx, wrk and the agent make."""
    return os.getloadavg()[0] > os.cpu_count() + 2


def quiet(bed):
    """Packets of the interfaces and packets inspected, read while nothing goes over the wire."""
    for _ in range(40):
        before = interface_packets(bed)
        time.sleep(0.5)
        seen = bed.counter("decoder.pkts")
        if interface_packets(bed) == before:
            return before, seen
    raise RuntimeError("the interfaces never come to rest")


def load(bed, t):
    for attempt in range(1, ATTEMPTS + 1):
        if one_load(bed, t, attempt == ATTEMPTS) >= 4500 * SECONDS:
            break


def one_load(bed, t, last):
    with open(bed.path("rate.lua"), "w", encoding="ascii") as f:
        f.write(LUA)
    sent0, seen0 = quiet(bed)
    tx0 = bed.counter("app_layer.tx.http")
    done = bed.sh(bed.visitor, "wrk", "-t1", "-c200", f"-d{SECONDS}", "-s", bed.path("rate.lua"),
                  f"http://{SERVER_V}/index.html", timeout=60)
    requests = int(re.search(r"(\d+) requests in", done.stdout).group(1))
    print(f"     {requests} requests in {SECONDS} s")
    what = "the load was about 5,000 requests a second"
    if requests < 4500 * SECONDS and last and others_busy():
        t.skip(what, f"{requests // SECONDS} a second; this machine has too much else to do")
    elif requests >= 4500 * SECONDS or last:
        t.check(what, requests >= 4500 * SECONDS, done.stdout)
    sent1, seen1 = quiet(bed)
    sent, seen = sent1 - sent0, seen1 - seen0
    status = bed.status()
    print(f"     {sent} packets on the interfaces, {seen} inspected")
    t.check("the kernel dropped none", sum(w["kernel_drops"] for w in status["workers"]) == 0, status["workers"])
    t.check("every packet of the interfaces was seen", seen == sent, f"{seen} of {sent}")
    tx = bed.counter("app_layer.tx.http") - tx0
    t.check("every request was seen", requests <= tx <= requests + 200, f"{tx} of {requests}")
    t.check("no event was lost", status["events"]["lost_ring_full"] == 0, status["events"])
    t.check("and nobody was blocked", bed.elements() == {}, bed.elements())
    return requests


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_load")
    with Bed(ap.parse_args().agent, extra="  workers: 1\n") as bed:
        if t.check("the agent starts with the starter rules", bed.start_agent(), bed.agent_log()[-600:]):
            load(bed, t)
            t.check("the agent ends with 0", bed.stop_agent() == 0, bed.agent_log()[-300:])
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
