#!/usr/bin/env python3
"""Nobody who keeps the server alive is cut off: an attack from each kind of address on the never-list is alerted, blocks nobody,
and is refused by name. See bed.py for the scene; the attacker takes each address in turn."""
import argparse
import os
import socket
import struct
import subprocess
import sys
import time

from bed import ATTACK, ATTACKER, SERVER_A, Bed, Tally, wait_until
from live_block import RULE
from live_hostile import Stolen, block_request, v4

# Acts on a lone packet: what cannot come by a handshake comes so.
LONE = ('alert udp any any -> any 9999 (msg:"lone packet"; content:"ATTACK-NOW"; sid:7; rev:1; metadata: sekisho_block 10m;)\n')
CONFIGURED, PROXY, OPAQUE, RESOLVER, RESOLVED = "10.77.1.30", "10.77.1.31", "10.77.1.32", "10.77.1.40", "10.77.1.41"
ADMIN, PASSER, LOGIND, STRANGER = "10.77.1.50", "10.77.1.51", "10.77.1.52", "198.51.100.9"
OWN_SECOND = "192.0.2.55"
CONF = (f"never: [{CONFIGURED}]\nproxies:\n  http: [{PROXY}]\n  opaque: [{OPAQUE}]\n")
SESSION = ("UID=0\nUSER=root\nACTIVE=1\nIS_DISPLAY=0\nSTATE=%s\nREMOTE=1\nTYPE=tty\nCLASS=user\nREMOTE_HOST=%s\n"
           "SERVICE=sshd\nLEADER=%d\n")


def same(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_ntop(family, socket.inet_pton(family, address))


# --- a place of the server's own for /run, and name servers ---

def private_files(bed):
    """The agent and sshd see this /run and this resolv.conf, the machine keeps its own."""
    run = bed.path("run")
    os.makedirs(os.path.join(run, "systemd/sessions"))
    os.makedirs(os.path.join(run, "systemd/resolve"))
    os.mkdir(os.path.join(run, "sshd"), 0o755)
    open(os.path.join(run, "utmp"), "wb").close()
    with open(os.path.join(run, "systemd/resolve/resolv.conf"), "w", encoding="ascii") as f:
        f.write(f"nameserver {RESOLVED}\n")
    with open(bed.path("resolv.conf"), "w", encoding="ascii") as f:
        f.write(f"# test\nnameserver {RESOLVER}\n")
    real = os.path.realpath("/etc/resolv.conf")
    mounts = [f"mount --bind {run} /run"]
    if real.startswith("/run/"):
        os.makedirs(os.path.dirname(run + real[4:]), exist_ok=True)
        os.rename(bed.path("resolv.conf"), run + real[4:])
    else:
        mounts.append(f"mount --bind {bed.path('resolv.conf')} {real}")
    bed.inside = ["unshare", "-m", "sh", "-c", " && ".join(mounts) + ' && exec "$@"', "sh"]


# --- what the attacker sends ---

def take(bed, *addresses):
    for a in addresses:
        bed.must("ip", "-n", bed.attacker, "addr", "add", a + ("/128" if ":" in a else "/32"), "dev", "eth0",
                 *(["nodad"] if ":" in a else []))


def give_back(bed, *addresses):
    for a in addresses:
        bed.sh(None, "ip", "-n", bed.attacker, "addr", "del", a + ("/128" if ":" in a else "/32"), "dev", "eth0")


def get(bed, source, url, header=None, seconds=2):
    """HTTP status of a request from that address of the attacker's; None: no answer."""
    server = "[fd77:1::1]" if ":" in source else SERVER_A
    done = bed.sh(bed.attacker, "curl", "-s", "-g", "-o", "/dev/null", "-w", "%{http_code}", "--interface", source,
                  "--connect-timeout", str(seconds), "-m", str(seconds + 1), *(["-H", header] if header else []),
                  f"http://{server}{url}")
    return int(done.stdout) if done.returncode == 0 else None


def csum(data):
    data += b"\0" * (len(data) & 1)
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF or 0xFFFF


def lone_frame(src, dst, macs):
    """An Ethernet frame with one UDP packet, whoever it says that it comes from."""
    data = b"ATTACK-NOW"
    v6 = ":" in src
    s, d = (socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, a) for a in (src, dst))
    udp = struct.pack("!HHHH", 40000, 9999, 8 + len(data), 0)
    pseudo = s + d + (struct.pack("!IxxxB", 8 + len(data), 17) if v6 else struct.pack("!xBH", 17, 8 + len(data)))
    udp = udp[:6] + struct.pack("!H", csum(pseudo + udp + data)) + data
    if v6:
        return macs[0] + macs[1] + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + s + d + udp
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + s + d
    ip = ip[:10] + struct.pack("!H", csum(ip)) + ip[12:]
    return macs[0] + macs[1] + b"\x08\x00" + ip + udp


def mac_of(bed, ns, dev):
    text = bed.sh(ns, "cat", f"/sys/class/net/{dev}/address").stdout.strip()
    return bytes.fromhex(text.replace(":", ""))


def send_lone(bed, src, dst=None):
    macs = mac_of(bed, bed.server, "eth1"), mac_of(bed, bed.attacker, "eth0")
    frame = lone_frame(src, dst or ("fd77:1::1" if ":" in src else SERVER_A), macs)
    script = "import socket,sys\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\ns.bind(('eth0',0))\ns.send(bytes.fromhex(sys.argv[1]))"
    done = bed.sh(bed.attacker, sys.executable, "-c", script, frame.hex())
    if done.returncode:
        raise RuntimeError(done.stderr)


# --- what is looked for ---

def alerts(bed, source, sid):
    return sum(1 for a in bed.eve("alert") if same(a["src_ip"]) == same(source) and a["alert"]["signature_id"] == sid)


def refusals(bed, target):
    return [e["block"] for e in bed.eve("block") if e["block"]["action"] == "refused" and e["block"]["target"] == target]


def refused_by(bed, t, who, source, kind, entry):
    """The event that says who was not blocked, and because of what."""
    wait_until(lambda: refusals(bed, source), 4)
    by = [r.get("refused_by", {}) for r in refusals(bed, source)]
    t.check(f"{who}: the event names the entry ({kind})", any(b.get("kind") == kind and b.get("entry") == entry for b in by) and
            all(b.get("text") for b in by), by)


def spared(bed, t, who, source, kind, entry=None, attack=None, sid=1):
    """An attack from there: alert, no block, a refusal that names the kind, and served again."""
    before, old = bed.status()["blocks"]["refused_never"], alerts(bed, source, sid)
    status = (attack or (lambda: get(bed, source, ATTACK)))()
    t.check(f"{who}: the attack is alerted", wait_until(lambda: alerts(bed, source, sid) > old) is not None)
    t.check(f"{who}: the block is refused", wait_until(lambda: bed.status()["blocks"]["refused_never"] > before) is not None,
            bed.agent_log()[-300:])
    t.check(f"{who}: and nobody is blocked", bed.elements() == {} and bed.blocks() == [], bed.elements())
    refused_by(bed, t, who, source, kind, entry or source)
    if sid == 1:
        t.check(f"{who}: is served before and after", status == 200 and get(bed, source, "/index.html") == 200)


# --- the kinds ---

def ordinary(bed, t):
    get(bed, ATTACKER, ATTACK)
    t.check("an attack from anywhere else is blocked", bed.wait_blocked(ATTACKER) is not None, bed.agent_log()[-300:])
    bed.ctl("unblock", ATTACKER)
    send_lone(bed, "203.0.113.77")
    t.check("so is a lone packet, by a rule that says so", bed.wait_blocked("203.0.113.77") is not None)
    bed.ctl("unblock", "203.0.113.77")


def own(bed, t):
    bed.must("ip", "-n", bed.server, "addr", "add", OWN_SECOND + "/32", "dev", "eth1")
    time.sleep(1)
    for address in (SERVER_A, OWN_SECOND, "fd77:1::1"):
        spared(bed, t, f"own address {address}", address, "own-address", sid=7,
               attack=lambda a=address: send_lone(bed, a, "10.77.2.1" if ":" not in a else "fd77:2::1"))
    done = bed.sh(bed.server, "curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", f"http://{SERVER_A}/index.html")
    t.check("own address: the server still serves itself", done.stdout == "200", done.stdout)


def gateway(bed, t):
    bed.must("ip", "-n", bed.server, "route", "add", "default", "via", ATTACKER)
    bed.must("ip", "-n", bed.server, "-6", "route", "add", "default", "via", "fd77:1::2")
    time.sleep(1)
    spared(bed, t, "gateway", ATTACKER, "gateway")
    spared(bed, t, "gateway over IPv6", "fd77:1::2", "gateway")
    for family in ("-4", "-6"):
        bed.must("ip", "-n", bed.server, family, "route", "del", "default")
    time.sleep(1)
    get(bed, ATTACKER, ATTACK)
    t.check("once it is no gateway any more it can be blocked", bed.wait_blocked(ATTACKER) is not None)
    bed.ctl("unblock", ATTACKER)


def resolver(bed, t):
    take(bed, RESOLVER, RESOLVED)
    spared(bed, t, "resolver", RESOLVER, "resolver")
    spared(bed, t, "resolver behind systemd-resolved", RESOLVED, "resolver")


def services(bed, t):
    """Of EC2: nobody else can have these addresses, but packets can bear them."""
    bed.must("ip", "-n", bed.server, "route", "add", "169.254.169.254/32", "dev", "eth1")
    bed.must("ip", "-n", bed.server, "-6", "route", "add", "fd00:ec2::254/128", "dev", "eth1")
    take(bed, "169.254.169.254", "fd00:ec2::254")
    spared(bed, t, "metadata service", "169.254.169.254", "metadata-service")
    spared(bed, t, "metadata service over IPv6", "fd00:ec2::254", "metadata-service")
    for address, kind in (("169.254.169.253", "resolver"), ("fd00:ec2::253", "resolver"), ("169.254.169.123", "metadata-service"),
                          ("fd00:ec2::123", "metadata-service")):
        spared(bed, t, address, address, kind, sid=7, attack=lambda a=address: send_lone(bed, a))


def configured(bed, t):
    take(bed, CONFIGURED)
    spared(bed, t, "configured", CONFIGURED, "configured")


def proxies(bed, t):
    """Whoever comes through it and is not named is nobody; and the guard spares it whoever asks."""
    take(bed, PROXY, OPAQUE)
    for who, address, text in (("trusted proxy", PROXY, "proxies.http"), ("opaque proxy", OPAQUE, "proxies.opaque")):
        t.check(f"{who}: an attack without a client is answered", get(bed, address, ATTACK) == 200)
        t.check(f"{who}: and alerted", wait_until(lambda a=address: alerts(bed, a, 1) > 0) is not None)
        t.check(f"{who}: and blocks nobody", not time.sleep(0.5) and bed.elements() == {}, bed.elements())
        done = bed.ctl("block", address)
        t.check(f"{who}: an operator cannot block it, and is told why", done.returncode == 1 and
                f"trusted-proxy: {text}" in done.stderr, done.stderr)
        with Stolen(bed.role("engine")["pid"], 4) as engine:
            before = bed.status()["blocks"]["refused_never"]
            engine.send(block_request(v4(address)))
            t.check(f"{who}: nor can a taken-over engine", wait_until(
                lambda b=before: bed.status()["blocks"]["refused_never"] > b) is not None and bed.elements() == {})
        refused_by(bed, t, who, address, "trusted-proxy", address)
        t.check(f"{who}: is served after", get(bed, address, "/index.html") == 200)


def odd_sources(bed, t):
    """What no client can be: refused as no address, or as an entry that is built in; never set."""
    bed.must("ip", "-n", bed.server, "route", "add", "169.254.7.7/32", "dev", "eth1")
    for address, kind in (("169.254.7.7", "link-local"), ("fe80::7777", "link-local"), ("10.77.1.255", "broadcast")):
        spared(bed, t, address, address, kind, entry=None if kind == "broadcast" else
               "169.254.0.0/16" if "." in address else "fe80::/10", sid=7, attack=lambda a=address: send_lone(bed, a))
    for address in ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "224.0.0.5", "239.1.2.3", "ff02::1", "255.255.255.255"):
        before = bed.status()["blocks"]
        send_lone(bed, address)
        found = wait_until(lambda a=address: alerts(bed, a, 7) > 0, 2)
        after = bed.status()["blocks"]
        grown = after["refused_never"] + after["refused_invalid"] - before["refused_never"] - before["refused_invalid"]
        t.check(f"{address}: nobody is blocked, and what was asked for is counted", bed.elements() == {} and
                (found is None or grown > 0), (found, before, after))


def start_sshd(bed):
    for name in ("host", "key"):
        bed.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", bed.path(name))
    with open(bed.path("sshd.conf"), "w", encoding="ascii") as f:
        f.write(f"HostKey {bed.path('host')}\nAuthorizedKeysFile {bed.path('key.pub')}\nStrictModes no\nUsePAM no\nPidFile none\n"
                f"PermitRootLogin yes\nPasswordAuthentication no\nListenAddress {SERVER_A}\nPrintLastLog no\n")
    # utmp is in a /run of its own; wtmp and lastlog are nowhere.
    script = f"mount --bind {bed.path('run')} /run && mount -t tmpfs none /var/log && exec /usr/sbin/sshd -D -e -f {bed.path('sshd.conf')}"
    with open(bed.path("sshd.log"), "ab") as log:
        subprocess.Popen(["ip", "netns", "exec", bed.server, "unshare", "-m", "sh", "-c", script], stdin=subprocess.DEVNULL,
                         stdout=log, stderr=log, start_new_session=True)
    return wait_until(lambda: "Server listening" in open(bed.path("sshd.log"), encoding="utf-8", errors="replace").read(), 10)


def login(bed, source, key):
    return subprocess.Popen(["ip", "netns", "exec", bed.attacker, "ssh", "-tt", "-F", "none", "-b", source, "-i", bed.path(key),
                             "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                             "-o", "BatchMode=yes", f"root@{SERVER_A}", "echo IN; sleep 60"], stdin=subprocess.PIPE,
                            stdout=open(bed.path(f"ssh-{source}"), "wb"), stderr=subprocess.DEVNULL)


def said_in(bed, source):
    return b"IN" in open(bed.path(f"ssh-{source}"), "rb").read()


def administrator(bed, t):
    take(bed, ADMIN, PASSER, LOGIND)
    if not t.check("sshd starts", start_sshd(bed) is not None, open(bed.path("sshd.log"), encoding="utf-8").read()):
        return
    bed.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", bed.path("other"))
    stranger = login(bed, PASSER, "other")  # tries to log in, and fails
    session = login(bed, ADMIN, "key")
    t.check("an administrator logs in over SSH", wait_until(lambda: said_in(bed, ADMIN), 10) is not None)
    t.check("which is noticed at once", wait_until(lambda: bed.status()["blocks"]["administrators"] == 1, 2) is not None,
            bed.status()["blocks"])
    spared(bed, t, "administrator", ADMIN, "administrator")
    stranger.wait(10)
    get(bed, PASSER, ATTACK)
    t.check("who only tried to log in is no administrator", bed.wait_blocked(PASSER) is not None)
    bed.ctl("unblock", PASSER)
    session.stdin.close()
    session.terminate()
    session.wait()
    time.sleep(1)
    spared(bed, t, "administrator who has logged out", ADMIN, "administrator")
    with open(bed.path("run/77"), "w", encoding="ascii") as f:
        f.write(SESSION % ("active", LOGIND, os.getpid()))
    with open(bed.path("run/systemd/sessions/78"), "w", encoding="ascii") as f:
        f.write(SESSION % ("closing", PASSER, os.getpid()))
    with open(bed.path("run/systemd/sessions/79"), "w", encoding="ascii") as f:
        f.write((SESSION % ("active", PASSER, os.getpid())).replace("sshd", "login"))
    os.rename(bed.path("run/77"), bed.path("run/systemd/sessions/77"))  # as logind does it
    t.check("a session of systemd-logind is noticed", wait_until(lambda: bed.status()["blocks"]["administrators"] == 2, 3)
            is not None, bed.status()["blocks"])
    spared(bed, t, "administrator known to logind", LOGIND, "administrator")


def restarted(bed, t):
    t.check("the agent ends", bed.stop_agent() == 0)
    os.unlink(bed.path("run/systemd/sessions/77"))
    t.check("and starts again", bed.start_agent(), bed.agent_log()[-400:])
    spared(bed, t, "administrator of before the restart", ADMIN, "administrator")
    t.check("their addresses are for root alone", os.stat(bed.path("state/administrators")).st_mode & 0o777 == 0o600)


def reconfigure(bed, *pairs):
    text = open(bed.conf, encoding="utf-8").read()
    for old, new in pairs:
        if old not in text:
            raise RuntimeError(f"{old!r} is not in the configuration")
        text = text.replace(old, new)
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(text)
    return bed.ctl("reload", timeout=60).returncode == 0


def local_networks(bed, t):
    take(bed, STRANGER)
    bed.must("ip", "-n", bed.server, "route", "add", STRANGER + "/32", "dev", "eth1")
    t.check("a reload spares local networks", reconfigure(bed, ("never:", "decide:\n  spare-local-networks: yes\nnever:")))
    spared(bed, t, "local network", ATTACKER, "local-network", entry="10.77.1.0/24")
    spared(bed, t, "local network over IPv6", "fd77:1::2", "local-network", entry="fd77:1::/64")
    spared(bed, t, "configured address of a local network", CONFIGURED, "configured")
    done = bed.ctl("block", PROXY)
    t.check("a proxy of a local network is refused as what it is", "trusted-proxy" in done.stderr, done.stderr)
    get(bed, STRANGER, ATTACK)
    t.check("who is no neighbour is blocked", bed.wait_blocked(STRANGER) is not None)
    bed.ctl("unblock", STRANGER)


def taken_away(bed, t):
    t.check("a reload that takes entries out of the configuration succeeds", reconfigure(
        bed, (f"never: [{CONFIGURED}]\n", ""), ("spare-local-networks: yes", "spare-local-networks: no\n  spare-administrators: no"),
        (f"http: [{PROXY}]", "http: []")))
    for who, address in (("configured", CONFIGURED), ("proxy", PROXY), ("neighbour", ATTACKER), ("administrator", ADMIN)):
        get(bed, address, ATTACK)
        t.check(f"who was {who} can be blocked again", bed.wait_blocked(address) is not None, bed.agent_log()[-300:])
        bed.ctl("unblock", address)
    done = bed.ctl("block", OPAQUE)
    t.check("what is still configured cannot", done.returncode == 1, done.stdout)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_never")
    with Bed(ap.parse_args().agent, rules=RULE + LONE, keep_on_stop=False, extra=CONF) as bed:
        private_files(bed)
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            for step in (ordinary, own, gateway, resolver, services, configured, proxies, odd_sources, administrator, restarted,
                         local_networks, taken_away):
                step(bed, t)
        log = bed.agent_log()
        t.check("no sanitizer has anything to say", "Sanitizer" not in log and "runtime error" not in log, log[-2000:])
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
