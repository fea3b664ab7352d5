#!/usr/bin/env python3
"""A taken-over engine, a hostile configuration, a noisy host: what the guard lets them do, and what each role may do."""
import argparse
import ctypes
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

from bed import ATTACK, ATTACKER, SERVER_A, VISITOR, Bed, Tally, wait_until
from live_block import RULE

LIBC = ctypes.CDLL(None, use_errno=True)
PIDFD_OPEN, PIDFD_GETFD = 434, 438  # the same numbers on every architecture
MAGIC, VERSION = 0x534B6970, 1  # ipc/message.h
LOADED, READY, BLOCK = 10, 11, 12
CAPS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
        "NET_ADMIN": 12, "NET_RAW": 13}


def v4(text):
    return bytes(10) + b"\xff\xff" + socket.inet_aton(text)


AGAIN = 4  # enum decide_reason


def identity(target, state=0, hop=None):
    """struct identity: 0 direct, 1 proven, 2 unproven."""
    hops = struct.pack("<16sB7x", hop, 0) if hop else b""
    return struct.pack("<16sHBBBB2x192s", target, 0, state, 3 if state == 1 else 0, 1 if state == 2 else 0, 1 if hop else 0, hops)


def block_request(target, length=128, seconds=600, src=None, dst=None, ports=(1000, 80), reason=0, kill=0, who=None):
    """struct decide_request, as a worker would send it."""
    body = struct.pack("<16sB7xqqIIIBBBBB3x4x16s16sHH4xQQ216sII192sH128s256s6x", target, length, time.time_ns(), seconds, 1, 1, 1,
                       6, 0, 1, reason, kill, src or target, dst or v4(SERVER_A), *ports, 7, 0, who or identity(target), 0, 0, b"",
                       0, b"forged", b"")
    return struct.pack("<IHHI", MAGIC, VERSION, BLOCK, len(body)) + body


class Stolen:
    """One of the engine's own descriptors: what is written here, the engine has written as far as the guard can see."""

    def __init__(self, pid, number):
        pidfd = LIBC.syscall(PIDFD_OPEN, pid, 0)
        fd = LIBC.syscall(PIDFD_GETFD, pidfd, number, 0)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        os.close(pidfd)
        self.sock = socket.socket(fileno=fd)

    def send(self, *messages):
        sent = 0
        for m in messages:
            try:
                self.sock.send(m)
                sent += 1
            except BlockingIOError:
                time.sleep(0.005)
        return sent

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def files_of(pid):
    """{number: what it is} of a process."""
    out = {}
    for n in os.listdir(f"/proc/{pid}/fd"):
        try:
            st = os.stat(f"/proc/{pid}/fd/{n}")
            is_null = stat.S_ISCHR(st.st_mode) and st.st_rdev == os.makedev(1, 3)
            out[int(n)] = "/dev/null" if is_null else os.readlink(f"/proc/{pid}/fd/{n}")
        except OSError:
            pass
    return out


def bare(bed, t, role, allowed):
    pid = bed.role(role)["pid"]
    s = status_of(pid)
    ids = s["Uid"].split() + s["Gid"].split()
    t.check(f"the {role} is nobody's root", "0" not in ids and not s["Groups"].strip(), (ids, s["Groups"]))
    t.check(f"the {role} has no capabilities", all(int(s[c], 16) == 0 for c in ("CapEff", "CapPrm", "CapInh", "CapAmb")))
    t.check(f"the {role} gains none and is filtered", (s["NoNewPrivs"], s["Seccomp"]) == ("1", "2"))
    t.check(f"nobody may look into the {role}", os.stat(f"/proc/{pid}/mem").st_uid == 0)
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            if "Seccomp:\t2" not in f.read():
                t.check("every thread is filtered", False, task)
    odd = {n: what for n, what in files_of(pid).items() if not any(a in what for a in allowed) and n > 2}
    t.check(f"the {role} holds what it needs and no more", odd == {}, odd)
    files = files_of(pid)
    t.check(f"the {role} has no terminal to read from", files.get(0) == "/dev/null" and files.get(1) == "/dev/null", files)
    with open(f"/proc/{pid}/environ", "rb") as f:
        t.check(f"the {role} has not got the environment", b"SEKISHO_SECRET" not in f.read())
    return pid


def privileges(bed, t):
    bare(bed, t, "engine", ("socket:", "anon_inode:[eventfd]", "/memfd:sekisho"))
    bare(bed, t, "reporter", ("socket:", "anon_inode:[eventfd]", "/memfd:sekisho", bed.eve_path))
    s = status_of(bed.role("guard")["pid"])
    most = sum(1 << b for b in CAPS.values())
    t.check("the guard has given up what it does not need", int(s["CapPrm"], 16) & ~most == 0 and
            int(s["CapBnd"], 16) & ~most == 0 and s["NoNewPrivs"] == "1", s["CapPrm"])
    for path, mode in ((bed.path("state/blocks.db"), 0o600), (bed.eve_path, 0o640), (bed.socket, 0o660)):
        got = stat.S_IMODE(os.stat(path).st_mode)
        t.check(f"{os.path.basename(path)} has mode {mode:o}", got == mode, f"{got:o}")


def control(bed, t):
    os.chmod(bed.socket, 0o666)
    for verb, args in (("block", [VISITOR]), ("unblock", [VISITOR]), ("reload", []), ("stop", [])):
        done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", bed.agent, verb, *args,
                               "--socket", bed.socket], capture_output=True, text=True, check=False)
        t.check(f"`{verb}` is for root only", done.returncode == 1 and "only root" in done.stderr, done.stderr)
    os.chmod(bed.socket, 0o660)


def forged_blocks(bed, t):
    before = bed.status()["blocks"]
    never = [v4(SERVER_A), v4("169.254.169.254"), v4("127.0.0.1"), v4("10.77.1.255"), v4("224.0.0.1")]
    wide = [(v4("0.0.0.0"), 96), (v4("8.0.0.0"), 104), (v4("198.51.0.0"), 112), (bytes(16), 0),
            (socket.inet_pton(socket.AF_INET6, "2001:db8::"), 32), (v4("10.77.1.0"), 120)]
    with Stolen(bed.role("engine")["pid"], 4) as engine:
        engine.send(*[block_request(a) for a in never], *[block_request(a, n) for a, n in wide],
                    block_request(v4("198.51.100.9"), seconds=0), block_request(v4("198.51.100.9"), seconds=-2**63),
                    block_request(v4("198.51.100.9"), 97),
                    block_request(v4("198.51.100.9"), who=identity(v4("198.51.100.9"), 2, v4("10.0.0.1"))),
                    block_request(v4("198.51.100.9"), who=identity(v4("198.51.100.9"), 3)), block_request(v4("198.51.100.9"), reason=9),
                    block_request(v4("198.51.100.9"), reason=4))
        sent = engine.send(*[block_request(v4(SERVER_A))] * 3000)
        t.check("the guard answers while it is flooded with requests", bed.ready())
        engine.send(block_request(v4("198.51.100.7"), seconds=2**62))
    t.check("a request like any other is carried out", bed.wait_blocked("198.51.100.7") is not None)
    after = bed.status()["blocks"]
    t.check("no other of the forged ones is", list(bed.elements() or {}) == ["198.51.100.7"], bed.elements())
    t.check("every one of them is counted", after["refused_never"] - before["refused_never"] == 4 + sent and
            after["refused_invalid"] - before["refused_invalid"] == 13, (sent, before, after))
    t.check("one that only says again sets nothing", after["again"] - before["again"] == 1, after)
    t.check("but they do not fill the log", bed.agent_log().count("never-list") <= 2)
    told = [e["block"] for e in bed.eve("block") if e["block"]["action"] == "refused"]
    mine = [b for b in told if b["target"] == SERVER_A]
    t.check("each is told who refused it", {b["refused_by"]["kind"] for b in told} >= {"own-address", "metadata-service", "broadcast",
            "invalid"} and all(b["refused_by"]["text"] for b in told), told[:5])
    t.check("but thousands of one kind in few events", len(mine) <= 4, len(mine))
    wait_until(lambda: sum(e["block"]["count"] for e in bed.eve("block") if e["block"].get("target") == SERVER_A) == sent + 1, 12)
    counted = sum(e["block"]["count"] for e in bed.eve("block") if e["block"].get("target") == SERVER_A)
    t.check("which count every one", counted == sent + 1, (counted, sent))
    left = bed.blocks()[0]["seconds_left"]
    t.check("and no block lasts longer than is configured", left <= 4 * 7 * 86400, left)
    bed.ctl("unblock", "198.51.100.7")


def replaced(bed, t, what, number, *messages, seconds=5):
    """The engine writes that, and there is another one soon; the guard and its blocks are not disturbed."""
    old = bed.role("engine")["pid"]
    with Stolen(old, number) as engine:
        engine.send(*messages)
        took = wait_until(lambda: bed.role("engine")["pid"] not in (0, old) and bed.ready(), seconds)
    t.check(f"an engine that sends {what} is replaced", took is not None, bed.agent_log()[-400:])
    t.check("the guard and its blocks stay", bed.process.poll() is None and ATTACKER in (bed.elements() or {}))


def forged_messages(bed, t):
    bed.fetch(bed.attacker, ATTACK, 1)
    t.check("an attack is blocked", bed.wait_blocked(ATTACKER) is not None)
    replaced(bed, t, "garbage", 3, os.urandom(60))
    replaced(bed, t, "garbage as block requests", 4, b"x" * 516)
    replaced(bed, t, "the end of its channel", 3, b"", seconds=10)
    loaded = struct.pack("<Qi5IQdd512s", 1, -3, 0, 0, 0, 0, 0, 0, float("nan"), 0, b"\x1b[2Jspoofed\nsekisho: ready")
    replaced(bed, t, "an outcome that nobody asked for", 3, struct.pack("<IHHI", MAGIC, VERSION, LOADED, len(loaded)) + loaded,
             seconds=10)
    t.check("what it wrote is not in the log", "spoofed" not in bed.agent_log())
    bed.ctl("unblock", ATTACKER)


def hostile_files(bed, t):
    good = open(bed.conf, encoding="utf-8").read()
    for what, make in (("a pipe", os.mkfifo), ("a folder", os.mkdir)):
        path = bed.path(f"odd-{what[2:]}.rules")
        make(path)
        with open(bed.conf, "w", encoding="utf-8") as f:
            f.write(good.replace(f"rule-files: [{bed.rules}]", f"rule-files: [{path}]"))
        began = time.monotonic()
        done = bed.ctl("reload", timeout=20)
        t.check(f"{what} in place of a rule file is refused at once, by name",
                done.returncode == 1 and path in done.stderr and time.monotonic() - began < 3, done.stderr)
    os.rename(bed.conf, bed.path("away.yaml"))
    os.mkfifo(bed.conf)
    done = bed.ctl("reload", timeout=20)
    t.check("so is a pipe in place of the configuration", done.returncode == 1 and "not a regular file" in done.stderr, done.stderr)
    os.unlink(bed.conf)
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(good)
    os.rename(bed.eve_path, bed.path("log/eve.old"))
    os.symlink("/etc/passwd", bed.eve_path)
    size = os.path.getsize("/etc/passwd")
    bed.fetch(bed.visitor, "/index.html?behind-a-link")
    time.sleep(2.5)
    said = bed.agent_log().count("cannot open " + bed.eve_path)
    t.check("a link in place of the log is not followed, and that is said once", said == 1 and
            os.path.getsize("/etc/passwd") == size, said)
    os.unlink(bed.eve_path)
    t.check("the agent goes on", bed.ready())


def spared_at_reload(bed, t):
    bed.fetch(bed.attacker, ATTACK, 1)
    t.check("an attacker is blocked", bed.wait_blocked(ATTACKER) is not None)
    with open(bed.conf, "a", encoding="utf-8") as f:
        f.write(f"never: [{ATTACKER}]\n")
    done = bed.ctl("reload", timeout=60)
    t.check("put on the never-list by a reload", done.returncode == 0, done.stderr)
    t.check("it is let go", wait_until(lambda: bed.elements() == {}, 3) is not None, bed.elements())
    t.check("and is not blocked again", bed.fetch(bed.attacker, ATTACK, 1) is not None and not time.sleep(0.5) and
            bed.elements() == {}, bed.elements())


def noise(bed, t):
    """Addresses and routes that come and go as fast as they can."""
    script = "; ".join(["i=0", "while [ $i -lt 400 ]", "do ip route add 203.0.113.0/24 dev eth1",
                        "ip addr add 192.0.2.77/32 dev eth1", "ip addr del 192.0.2.77/32 dev eth1",
                        "ip route del 203.0.113.0/24 dev eth1", "i=$((i+1))", "done"])
    storm = subprocess.Popen(["ip", "netns", "exec", bed.server, "sh", "-c", script], stderr=subprocess.DEVNULL)
    slowest = 0
    while storm.poll() is None:
        began = time.monotonic()
        bed.status()
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.1)
    t.check("the guard answers while addresses come and go", slowest < 2, slowest)
    bed.sh(bed.server, "ip", "addr", "add", "192.0.2.78/32", "dev", "eth1")
    time.sleep(1)
    t.check("and knows the new ones", bed.ctl("block", "192.0.2.78").returncode == 1)


def home_changes(bed, t):
    """An address comes while the configuration is being edited: when it can be read, $HOME_NET has the address."""
    good = open(bed.conf, encoding="utf-8").read()
    with open(bed.conf, "a", encoding="utf-8") as f:
        f.write("half a line")
    bed.sh(bed.server, "ip", "addr", "add", "10.77.1.3/24", "dev", "eth1")
    t.check("rules that cannot be loaded for a new address are said", wait_until(
        lambda: "lacks this host's new addresses" in bed.agent_log()) is not None)
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(good)

    def found():
        bed.sh(bed.attacker, "curl", "-s", "-m", "1", "-o", "/dev/null", f"http://10.77.1.3{ATTACK}")
        return ATTACKER in (bed.elements() or {})
    t.check("and loaded later: an attack on it is found", wait_until(found, 15, 0.5) is not None)
    bed.ctl("unblock", ATTACKER)


def two_agents(bed, t):
    other = bed.path("other.yaml")
    with open(other, "w", encoding="utf-8") as f:
        f.write(open(bed.conf, encoding="utf-8").read().replace(bed.socket, bed.path("other.sock")))
    done = bed.sh(bed.server, bed.agent, "run", "-c", other, timeout=20)
    t.check("a second agent on the same journal refuses, whatever its socket",
            done.returncode == 1 and "running already" in done.stderr, done.stderr)
    t.check("and disturbs nothing", bed.ready() and bed.elements() is not None)


def start_fails(bed, t):
    """An agent whose engine never comes to work, on a host where blocks are in force."""
    bed.ctl("block", VISITOR, "--for", "5m")
    os.kill(bed.process.pid, signal.SIGKILL)
    bed.process.wait()
    # The engine's user may have no further process, and so the engine none of its threads.
    bed.process = subprocess.Popen(["ip", "netns", "exec", bed.server, "prlimit", "--nproc=1:1", bed.agent, "run", "-c", bed.conf],
                                   stdin=subprocess.DEVNULL, stdout=bed.log, stderr=bed.log, start_new_session=True)
    wait_until(lambda: bed.process.poll() is not None, 30)
    t.check("an agent whose engine does not start gives up and says so",
            bed.process.poll() == 1 and "does not start" in bed.agent_log(), bed.agent_log()[-300:])
    t.check("and lets the blocks be", VISITOR in (bed.elements() or {}), bed.elements())
    t.check("which the next one finds", bed.start_agent("-i", "eth1", "-i", "eth1") and
            [b["target"] for b in bed.blocks()] == [VISITOR], bed.blocks())
    t.check("an interface that is named twice is watched once", bed.status()["interfaces"] == ["eth1"])
    bed.ctl("unblock", VISITOR)


def stop_while_loading(bed, t):
    with open(bed.rules, "a", encoding="utf-8") as f:
        for i in range(20000):
            f.write(f'alert http any any -> any any (msg:"n{i}"; http.uri; content:"/x{i * 7919}y"; sid:{1000 + i};)\n')
    waiting = subprocess.Popen([bed.agent, "reload", "--socket", bed.socket], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    time.sleep(0.3)
    began = time.monotonic()
    t.check("an agent that is loading ends with 0", bed.stop_agent() == 0, bed.agent_log()[-300:])
    t.check("at once", time.monotonic() - began < 8, time.monotonic() - began)
    text = waiting.communicate(timeout=20)[0]
    t.check("and who waits for the load is told", "stopping" in text or "loaded" in text, text)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_hostile")
    os.environ["SEKISHO_SECRET"] = "of whoever starts the agent"
    with Bed(ap.parse_args().agent, rules=RULE, keep_on_stop=False) as bed:
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            for step in (privileges, control, forged_blocks, forged_messages, hostile_files, home_changes, two_agents, noise,
                         spared_at_reload, start_fails, stop_while_loading):
                step(bed, t)
        log = bed.agent_log()
        t.check("no sanitizer has anything to say", "Sanitizer" not in log and "runtime error" not in log, log[-2000:])
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
