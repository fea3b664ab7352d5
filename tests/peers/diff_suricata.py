#!/usr/bin/env python3
"""Does Sekisho see what Suricata sees?  Runs both over the same capture with the same rules and prints what only one saw.

    diff_suricata.py --agent build/agent/sekisho --rules FILE [--rules FILE] [--home CIDR,...] [--external any]
                     [--peer COMMAND] [--allow FILE] [--what alerts,http,flow] [--details N] PCAP...

The peer is Suricata 8 or newer: --peer, else the environment's SURICATA, else `suricata` in PATH; without one the
program says SKIP and exits 77.  It gets a configuration of its own, with the limits that Sekisho has too.  Rules that
`sekisho check` rejects are left out for both.

  alerts  multisets of (rule, both ends, transaction)
  http    EVE http records by connection and transaction: the fields in HTTP_FIELDS
  flow    EVE flow records by connection: the fields in FLOW_FIELDS

--allow names a file of differences that are known and right: a line is KIND KEY SIDE REASON..., with KIND alerts, http
or flow; KEY a rule number, or a field's name (`record` for a record that only one wrote); SIDE sekisho, suricata or
any: who alone has it.  `PCAP:KEY` limits it to captures of that name.  Exit status: 0 when nothing else differs, 1
when something does, 2 when an engine failed.
"""
import argparse
import collections
import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HTTP_FIELDS = ("hostname", "http_port", "url", "http_user_agent", "http_content_type", "http_refer", "http_method",
               "protocol", "status", "redirect", "length", "xff")
FLOW_FIELDS = ("pkts_toserver", "pkts_toclient", "bytes_toserver", "bytes_toclient", "state", "reason", "alerted")
PRIVATE = "192.168.0.0/16,10.0.0.0/8,172.16.0.0/12"
SERVERS = ("HTTP_SERVERS", "SMTP_SERVERS", "SQL_SERVERS", "DNS_SERVERS", "TELNET_SERVERS", "DC_SERVERS", "DNP3_SERVER",
           "DNP3_CLIENT", "MODBUS_CLIENT", "MODBUS_SERVER", "ENIP_CLIENT", "ENIP_SERVER")
PORTS = {"HTTP_PORTS": "80", "SHELLCODE_PORTS": "!80", "ORACLE_PORTS": "1521", "SSH_PORTS": "22", "DNP3_PORTS": "20000",
         "MODBUS_PORTS": "502", "FILE_DATA_PORTS": "[$HTTP_PORTS,110,143]", "FTP_PORTS": "21", "GENEVE_PORTS": "6081",
         "VXLAN_PORTS": "4789", "TEREDO_PORTS": "3544", "SIP_PORTS": "[5060,5061]"}
CONFIG = """%%YAML 1.1
---
vars:
  address-groups:
%(addresses)s
  port-groups:
%(ports)s
default-log-dir: %(dir)s
packet-alert-max: 64
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types:
        - alert
        - http: {extended: yes}
        - flow
app-layer:
  protocols:
    http:
      enabled: yes
      libhtp:
        default-config:
          personality: IDS
          request-body-limit: 100 KiB
          response-body-limit: 100 KiB
    http2:
      enabled: no
stream:
  memcap: 256 MiB
  checksum-validation: no
  inline: no
  midstream: %(midstream)s
  reassembly:
    memcap: 512 MiB
    depth: 1 MiB
    toserver-chunk-size: 2560
    toclient-chunk-size: 2560
    randomize-chunk-size: no
host-os-policy:
  linux: [0.0.0.0/0, "::/0"]
flow:
  memcap: 256 MiB
flow-timeouts:
  tcp: {new: 60, established: 600, closed: 60}
  udp: {new: 30, established: 300}
classification-file: %(dir)s/classification.config
reference-config-file: %(dir)s/reference.config
logging:
  default-log-level: error
  outputs:
    - console: {enabled: yes}
"""


def groups(home, external):
    home = f"[{home}]" if "," in home and not home.startswith("[") else home
    addresses = {"HOME_NET": home, "EXTERNAL_NET": external or ("any" if home == "any" else "!$HOME_NET"),
                 "AIM_SERVERS": "$EXTERNAL_NET"}
    addresses.update({name: "$HOME_NET" for name in SERVERS})
    return addresses


def rejected_lines(agent, rules):
    """{file: line numbers} of the rules that the agent does not load."""
    out = subprocess.run([agent, "check"] + [w for r in rules for w in ("-S", r)], capture_output=True, text=True)
    bad = collections.defaultdict(set)
    for line in (out.stderr + out.stdout).splitlines():
        m = re.match(r"(.+?):(\d+):\d+: (unsupported|error|warning: unsupported)", line)
        if m:
            bad[m.group(1)].add(int(m.group(2)))
    return bad


def common_rules(agent, rules, path):
    bad = rejected_lines(agent, rules)
    with open(path, "w", encoding="utf-8") as out:
        for name in rules:
            with open(name, encoding="utf-8", errors="replace") as f:
                for number, line in enumerate(f, 1):
                    out.write("#\n" if number in bad.get(name, ()) else line)


def read_eve(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return [json.loads(line) for line in f if line.strip()]
    except FileNotFoundError:
        return []


class Engines:
    def __init__(self, opt, folder):
        self.opt, self.folder = opt, folder
        self.rules = os.path.join(folder, "common.rules")
        common_rules(opt.agent, opt.rules, self.rules)
        addresses = groups(opt.home, opt.external)
        with open(os.path.join(folder, "vars.json"), "w", encoding="utf-8") as f:
            json.dump({"address-groups": addresses, "port-groups": PORTS}, f)
        config = CONFIG % {
            "dir": folder, "midstream": "yes" if opt.midstream else "no",
            "addresses": "\n".join(f'    {k}: "{v}"' for k, v in addresses.items()),
            "ports": "\n".join(f'    {k}: "{v}"' for k, v in PORTS.items())}
        with open(os.path.join(folder, "suricata.yaml"), "w", encoding="utf-8") as f:
            f.write(config)
        classes = sorted(set(re.findall(r"classtype:\s*([\w-]+)", open(self.rules, encoding="utf-8").read())))
        with open(os.path.join(folder, "classification.config"), "w", encoding="utf-8") as f:
            f.writelines(f"config classification: {c},{c},3\n" for c in classes)
        open(os.path.join(folder, "reference.config"), "w", encoding="utf-8").close()

    def run(self, name, command, pcap):
        out = os.path.join(self.folder, name)
        shutil.rmtree(out, ignore_errors=True)
        os.mkdir(out)
        done = subprocess.run(command + [out], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name} failed on {pcap} ({done.returncode}): {(done.stderr or done.stdout)[-600:]}")
        return read_eve(os.path.join(out, "eve.json"))

    def sekisho(self, pcap):
        command = [self.opt.agent, "replay", "-q", "-k", "none", "--set", "detect.max-alerts-per-packet=64", "-S", self.rules, "--vars",
                   os.path.join(self.folder, "vars.json")]
        if self.opt.midstream:
            command += ["--set", "stream.midstream=true"]
        return self.run("sekisho", command + self.opt.agent_args + [pcap, "-l"], pcap)

    def suricata(self, pcap):
        command = shlex.split(self.opt.peer) + ["-c", os.path.join(self.folder, "suricata.yaml"), "-S", self.rules, "-k",
                                                "none", "--runmode", "single", "-r", pcap, "-l"]
        return self.run("suricata", command, pcap)


# ------------------------------------------------------------------------------------------------ what is compared

def end(address, port):
    return f"{ipaddress.ip_address(address)}#{port}" if address else f"-#{port}"


def connection(r):
    ends = sorted((end(r.get("src_ip"), r.get("src_port", 0)), end(r.get("dest_ip"), r.get("dest_port", 0))))
    return f"{r.get('proto', '-')} {ends[0]} {ends[1]}"


def alerts_of(records):
    return collections.Counter((str(r["alert"]["signature_id"]), f"{connection(r)} tx {r.get('tx_id', '-')}")
                               for r in records if r["event_type"] == "alert")


def fields_of(records, kind, names):
    """{(connection, number): record}; the number is the transaction's, or counts flows of the same tuple."""
    out, seen = {}, collections.Counter()
    for r in records:
        if r["event_type"] != kind:
            continue
        where = connection(r)
        number = r.get("tx_id", 0) if kind == "http" else seen[where]
        seen[where] += 1
        part = dict(r.get(kind, {}))
        if kind == "flow":
            part["app_proto"] = r.get("app_proto")
        out[f"{where} {number}"] = {n: part.get(n) for n in names}
    return out


def diff_alerts(ours, theirs):
    a, b = alerts_of(ours), alerts_of(theirs)
    for (sid, where), n in sorted((a - b).items()):
        yield sid, "sekisho", where, f"{n} more"
    for (sid, where), n in sorted((b - a).items()):
        yield sid, "suricata", where, f"{n} more"


def diff_fields(ours, theirs, kind, names):
    a, b = fields_of(ours, kind, names), fields_of(theirs, kind, names)
    for where in sorted(a.keys() | b.keys()):
        if where not in a or where not in b:
            have = a.get(where) or b.get(where)
            yield "record", "sekisho" if where in a else "suricata", where, json.dumps(
                {k: v for k, v in have.items() if v is not None})
            continue
        for name in names:
            x, y = a[where][name], b[where][name]
            if x != y:
                side = "sekisho" if y is None else "suricata" if x is None else "any"
                yield name, side, where, f"sekisho {x!r}, suricata {y!r}"


def differences(kind, ours, theirs):
    if kind == "alerts":
        return diff_alerts(ours, theirs)
    return diff_fields(ours, theirs, kind, HTTP_FIELDS if kind == "http" else FLOW_FIELDS + ("app_proto",))


# ---------------------------------------------------------------------------------------------------- what is known

def read_allowed(path):
    allowed = []
    if path:
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                words = line.split("#")[0].split(None, 3)
                if words and len(words) < 4:
                    sys.exit(f"{path}:{number}: expected KIND KEY SIDE REASON")
                if words:
                    allowed.append(tuple(words))
    return allowed


def is_allowed(allowed, kind, pcap, key, side):
    name = os.path.splitext(os.path.basename(pcap))[0]
    return any(k == kind and wanted in (key, f"{name}:{key}") and s in ("any", side) for k, wanted, s, _ in allowed)


def report(kind, found, details):
    by_key = collections.defaultdict(list)
    for key, side, where, text in found:
        by_key[(key, side)].append((where, text))
    for (key, side), places in sorted(by_key.items(), key=lambda kv: -len(kv[1])):
        print(f"  {kind:6} {key:>10} only {side:9}{len(places):6}" if side != "any" else
              f"  {kind:6} {key:>10} differs       {len(places):6}")
        for where, text in places[:details]:
            print(f"           {where}: {text}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("pcaps", nargs="+")
    ap.add_argument("--agent", required=True)
    ap.add_argument("--peer", default=os.environ.get("SURICATA") or shutil.which("suricata"))
    ap.add_argument("--rules", action="append", required=True)
    ap.add_argument("--home", default=PRIVATE)
    ap.add_argument("--external", help="EXTERNAL_NET; else what is not HOME_NET")
    ap.add_argument("--allow")
    ap.add_argument("--what", default="alerts,http,flow")
    ap.add_argument("--details", type=int, default=3, help="examples shown of each difference")
    ap.add_argument("--midstream", action="store_true")
    ap.add_argument("--agent-args", type=shlex.split, default=[])
    ap.add_argument("--keep", metavar="DIR", help="work in DIR and leave the records there")
    opt = ap.parse_args()
    if not opt.peer:
        print("SKIP: no Suricata to compare with (--peer)")
        return 77
    allowed = read_allowed(opt.allow)
    folder = opt.keep or tempfile.mkdtemp(prefix="sekisho-peer-")
    os.makedirs(folder, exist_ok=True)
    bad = 0
    try:
        engines = Engines(opt, folder)
        for pcap in opt.pcaps:
            ours, theirs = engines.sekisho(pcap), engines.suricata(pcap)
            print(f"{pcap}: " + ", ".join(
                f"{kind} {sum(r['event_type'] + 's' * (kind == 'alerts') == kind for r in ours)} / "
                f"{sum(r['event_type'] + 's' * (kind == 'alerts') == kind for r in theirs)}"
                for kind in opt.what.split(",")))
            for kind in opt.what.split(","):
                every = list(differences(kind, ours, theirs))
                found = [d for d in every if not is_allowed(allowed, kind, pcap, d[0], d[1])]
                bad += len(found)
                report(kind, found, opt.details)
                if len(every) > len(found):
                    print(f"  {kind:6} {len(every) - len(found)} differences that are known")
    finally:
        if not opt.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{bad} differences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
