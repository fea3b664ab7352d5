#!/usr/bin/env python3
"""Time from an attack's last packet to the element in the kernel's set, and what capture.block-timeout costs.

    block_latency.py --agent build/release/agent/sekisho [--attacks 1000] [--timeouts 1,10] [--load] [--cpu SECONDS] [--timers]

In network namespaces (see tests/live/bed.py), as root. Each attack comes from an address of its own: a TCP connection to
nginx with one request that a drop rule finds. Begins: the kernel's timestamp of the last packet with payload on the server's
interface (AF_PACKET). Ends: receipt of the nftables notification that names the address, in a process of its own with
SCHED_FIFO. --load: meanwhile wrk makes 5,000 requests a second from elsewhere. --cpu: processor time of the roles, from
/proc/PID/task/*/schedstat, idle and under that load. --timers: what the timers of sixteen idle rings take from one processor,
which no process is charged with.
"""
import argparse
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../live"))
import swarm  # noqa: E402
from bed import SERVER_V, Bed  # noqa: E402
from nftables import NEWSETELEM, Netlink, elements, messages, real_time, text_of  # noqa: E402

RULE = ('drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"union select"; flow:established,to_server; http.uri; '
        'content:"union"; nocase; content:"select"; nocase; sid:1; rev:1; metadata: sekisho_block 30m;)\n')
RATE_LUA = "function delay() return 35 end\n"  # 200 connections, one request about every 37 ms each
SO_TIMESTAMPNS = 35


# --- what runs inside the namespaces ---

def listen(count):
    """Prints ADDRESS NANOSECONDS for each element that appears, until there were `count` or stdin ends."""
    link = Netlink(listen=True)
    if not real_time():
        print("without SCHED_FIFO: the ends are late by the scheduler's delay", file=sys.stderr)
    print("listening", flush=True)
    seen = []
    while len(seen) < count:
        if sys.stdin in select.select([link.sock, sys.stdin], [], [])[0]:
            break
        data = link.sock.recv(1 << 17)
        now = time.time_ns()
        for kind, _, body in messages(data):
            if kind == NEWSETELEM:
                seen += [(text_of(key), now) for key, _, _ in elements(body)]
    for address, when in seen:
        print(address, when)


def sniff(device):
    """Prints ADDRESS NANOSECONDS of the last packet with payload from each of 10.78/16, until stdin ends."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
    s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    s.bind((device, 0x0800))
    print("listening", flush=True)
    last = {}
    while True:
        ready = select.select([s, sys.stdin], [], [])[0]
        if s not in ready:
            break
        data, extra, _, _ = s.recvmsg(128, 256)
        head = 4 * (data[14] & 15)
        payload = struct.unpack_from("!H", data, 16)[0] - head - 4 * (data[14 + head + 12] >> 4)
        if data[26:28] == b"\x0a\x4e" and data[23] == 6 and payload > 0:
            sec, nsec = next(struct.unpack("=qq", d) for _, t, d in extra if t == SO_TIMESTAMPNS)
            last[data[26:30]] = sec * 10**9 + nsec
    for address, when in last.items():
        print(socket.inet_ntoa(address), when)


def timers(rings, timeout):
    """Makes so many rings, and prints which part of a processor's time goes by while a process that spins there stands still."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    real_time()
    held = []
    for _ in range(rings):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        s.setsockopt(263, 10, 2)  # SOL_PACKET, PACKET_VERSION, TPACKET_V3
        s.setsockopt(263, 5, struct.pack("=7I", 1 << 17, 4, 1 << 17, 4, timeout, 0, 0))  # PACKET_RX_RING
        s.bind(("lo", 3))
        held.append(s)
    clock, lost, seconds = time.perf_counter_ns, 0, 0.9  # within what real-time processes may take of a second
    last = clock()
    end = last + int(seconds * 1e9)
    while last < end:
        now = clock()
        if now - last > 1000:
            lost += now - last
        last = now
    print(lost / 1e9 / seconds)


# --- the measurement ---

def inside(bed, where, *args):
    return subprocess.Popen(["ip", "netns", "exec", where, sys.executable, "-B", os.path.abspath(__file__), *map(str, args)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def pairs(text):
    return {a: int(t) for a, t in (line.split() for line in text.splitlines())}


def measure(bed, count):
    listener, sniffer = inside(bed, bed.server, "listen", count), inside(bed, bed.server, "sniff", "eth1")
    for p in (listener, sniffer):
        p.stdout.readline()
    swarm.start(bed, count).communicate(timeout=60 + count)
    time.sleep(0.5)
    appeared, sent = pairs(listener.communicate(timeout=10)[0]), pairs(sniffer.communicate(timeout=10)[0])
    ms = sorted((appeared[a] - sent[a]) / 1e6 for a in sent if a in appeared)
    return ms, count - len(ms)


def wrk(bed, seconds):
    with open(bed.path("rate.lua"), "w", encoding="ascii") as f:
        f.write(RATE_LUA)
    return subprocess.Popen(["ip", "netns", "exec", bed.visitor, "wrk", "-t1", "-c200", f"-d{seconds}", "-s",
                             bed.path("rate.lua"), f"http://{SERVER_V}/index.html"], stdout=subprocess.PIPE, text=True)


def cpu_seconds(bed):
    out = {}
    for role in bed.status()["roles"]:
        total = 0
        for task in os.listdir(f"/proc/{role['pid']}/task"):
            with open(f"/proc/{role['pid']}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        out[role["name"]] = total / 1e9
    return out


def cpu(bed, what, seconds, load):
    p = wrk(bed, seconds + 2) if load else None
    time.sleep(1)
    before = cpu_seconds(bed)
    time.sleep(seconds)
    after = cpu_seconds(bed)
    used = {r: after[r] - before[r] for r in before}
    rate = re.search(r"Requests/sec: *([0-9.]+)", p.communicate()[0]).group(1) if p else "0"
    print(f"  {what}: {sum(used.values()):.3f} CPU s in {seconds} s ("
          + ", ".join(f"{r} {s:.3f}" for r, s in used.items()) + f"), {rate} requests/s")


def timer_cost(args):
    with Bed(args.agent) as bed:
        def part(rings, timeout):
            return min(float(inside(bed, bed.server, "timers", rings, timeout).communicate()[0]) for _ in range(3))
        idle = part(0, 1)
        for timeout in args.timeouts.split(","):
            print(f"16 idle rings of {timeout} ms take {100 * (part(16, timeout) - idle):.1f} % of a processor", flush=True)


def report(what, ms, missing):
    if not ms:
        sys.exit("no attack was blocked")
    print(f"  {what}: {len(ms)} blocked, {missing} not; median {ms[len(ms) // 2]:.2f} ms, "
          f"p90 {ms[len(ms) * 9 // 10]:.2f}, p99 {ms[len(ms) * 99 // 100]:.2f}, max {ms[-1]:.2f}", flush=True)


def run(args, timeout):
    print(f"capture.block-timeout {timeout} ms", flush=True)
    with Bed(args.agent, rules=RULE, keep_on_stop=False, extra=f"  block-timeout: {timeout}\n{args.conf}{swarm.UNBRAKED}") as bed:
        swarm.route(bed)
        if not bed.start_agent():
            sys.exit(bed.agent_log())
        if args.cpu:
            cpu(bed, "idle", args.cpu, False)
            cpu(bed, "wrk", args.cpu, True)
        if args.attacks:
            report("quiet", *measure(bed, args.attacks))
        if args.load:
            bed.stop_agent()
            bed.start_agent()
            p = wrk(bed, 5 + args.attacks // 40)
            time.sleep(1)
            report("under load", *measure(bed, args.attacks))
            p.kill()
            p.communicate()
        drops = sum(w["kernel_drops"] for w in bed.status()["workers"])
        print(f"  packets dropped by the kernel: {drops}", flush=True)


def main():
    inner = {"listen": lambda a: listen(int(a[0])), "sniff": lambda a: sniff(a[0]),
             "timers": lambda a: timers(int(a[0]), int(a[1]))}
    if len(sys.argv) > 1 and sys.argv[1] in inner:
        return inner[sys.argv[1]](sys.argv[2:])
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--attacks", type=int, default=1000)
    ap.add_argument("--timeouts", default="1")
    ap.add_argument("--conf", default="", help="further lines of the capture section")
    ap.add_argument("--load", action="store_true")
    ap.add_argument("--cpu", type=int, default=0, metavar="SECONDS")
    ap.add_argument("--timers", action="store_true")
    args = ap.parse_args()
    args.conf = args.conf.replace("\\n", "\n")
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, kernel {os.uname().release}")
    if args.timers:
        timer_cost(args)
    for timeout in args.timeouts.split(",") if args.attacks or args.cpu else ():
        run(args, int(timeout))
    return 0


if __name__ == "__main__":
    sys.exit(main())
