#!/usr/bin/env bash
# Speed of `sekisho replay -j1`: bench.sh AGENT [RULES...]. Alerts only, load time apart; 100 MB of web traffic.
set -euo pipefail
agent=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
work=build/bench
mkdir -p "$work"
[ -f "$work/web.pcap" ] || { echo "making $work/web.pcap"; python3 -B "$here/traffic.py" "$work/web.pcap" 100; }
rules=("$@")
[ $# -gt 0 ] || rules=(rules/sekisho-starter.rules)
if [ $# = 0 ] && [ -f ../shared/rules/etopen-2025-08.rules.gz ]; then
  gunzip -c ../shared/rules/etopen-2025-08.rules.gz >"$work/etopen.rules"
  rules+=("$work/etopen.rules")
fi
for r in "${rules[@]}"; do
  for i in 1 2 3; do
    printf '%s, run %s: ' "$(basename "$r")" "$i"
    "$agent" replay -q -j1 -k none -S "$r" "$work/web.pcap" | tail -n 1
  done
done
