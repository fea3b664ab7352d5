#!/usr/bin/env python3
"""The same attack requests sent directly, through a proxy inside HOME_NET, and ten clients to a connection of that proxy: each
must be found by the same rules, and the client named. Needs the rules and corpora that lie beside some checkouts."""
import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile

CORPORA = ("crs-attack", "nuclei-cve", "vulhub", "gotestwaf", "payloads", "httpparams-attack", "csic2010-attack")
PROXY = "10.80.0.200"  # and the fifteen after it
WAYS = {"direct": [], "proxy": ["--xff", PROXY], "proxy, ten to a connection": ["--xff", PROXY, "--keepalive", "10"]}


def found(agent, rules, pcap, out, proxied):
    """{(client, sid)} of the alerts."""
    hops = ["--set", "proxies.http=10.80.0.192/26"] if proxied else []
    subprocess.run([agent, "replay", "-q", "-S", rules, "-l", out, *hops, pcap], check=True, stdout=subprocess.DEVNULL)
    seen = set()
    with open(os.path.join(out, "eve.json"), encoding="utf-8") as f:
        for line in f:
            r = json.loads(line)
            if r["event_type"] != "alert":
                continue
            way = r["direction"] == "to_server"
            client = r.get("xff") if proxied else r["src_ip" if way else "dest_ip"]
            seen.add((client, r["alert"]["signature_id"]))
    return seen


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--shared", required=True)
    args = ap.parse_args()
    inputs = [os.path.join(args.shared, "corpora", f"{c}.dev.jsonl.gz") for c in CORPORA]
    with tempfile.TemporaryDirectory() as d:
        rules, results = os.path.join(d, "rules"), {}
        with gzip.open(os.path.join(args.shared, "rules/etopen-2025-08.rules.gz")) as f, open(rules, "wb") as o:
            o.write(f.read())
        for i, (name, how) in enumerate(WAYS.items()):
            pcap = os.path.join(d, f"{i}.pcap")
            subprocess.run([sys.executable, "-B", os.path.join(args.shared, "tools/http_corpus.py"), "--label", "attack",
                            "-o", pcap, *how, *inputs], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            results[name] = found(args.agent, rules, pcap, os.path.join(d, str(i)), bool(how))
            print(f"{name}: {len({c for c, _ in results[name]})} clients found, {len(results[name])} by client and rule")
    wanted, bad = results["direct"], 0
    for name, got in results.items():
        for what, diff in (("missed", wanted - got), ("found only so", got - wanted)):
            bad += len(diff)
            for client, sid in sorted(diff, key=str)[:5]:
                print(f"{name}: {what}: {client} by {sid}")
    return 1 if bad or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
