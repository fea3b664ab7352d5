#!/usr/bin/env python3
"""Two hosts of a fleet, each with kernel, agent and clients of its own. Their uplinks are stopped, and this test speaks in
their place: it passes on what one guard tells as the manager would, and what a taken-over uplink might say."""
import argparse
import base64
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from bed import ATTACK, ATTACKER, SERVER_A, VISITOR, Bed, Tally, wait_until
from live_block import RULE
from live_hostile import MAGIC, VERSION, Stolen, bare, block_request, v4

ALIVE, NEWS, FLEET, FLEET_DONE, SIGNED, SIGNED_DONE, MANAGER, LOOK_UP, FOUND = 20, *range(22, 30)  # ipc/message.h
POLICY, RULES = 0, 1
SET, END, BEGIN, DONE = range(4)
UP, REFUSED = 1, 2
NO_ANSWER, WAITING, NOT_THERE, THERE = range(4)
S = 10**9


def message(kind, body):
    return struct.pack("<IHHI", MAGIC, VERSION, kind, len(body)) + body


def address(text):
    return socket.inet_pton(socket.AF_INET6, text) if ":" in text else v4(text)


def fleet_message(op, target="0.0.0.0", length=128, expires=0, block="BFROMTHEFLEET2", host="web-2", reason="over there", sid=7,
                  created=None):
    """struct ipc_fleet."""
    return message(FLEET, struct.pack("<B7xII16sB7xqq16s64s128s", op, sid, 1, address(target) if isinstance(target, str) else target,
                                      length, time.time_ns() if created is None else created, expires, block.encode(), host.encode(),
                                      reason.encode()))


def manager_message(state=UP, addresses=(), url="https://manager.example:8443", text=""):
    now = time.time_ns()
    addr = b"".join(address(a) for a in addresses)
    return message(MANAGER, struct.pack("<II128sqqQQQQQq32s128s512s", state, len(addresses), addr, now, now, 3, 4096, 17, 0, 5,
                                        now + 30 * 86400 * S, b"AAAAAAAAAAAAAAAAAAAAAAAAAAA", url.encode(), text.encode()))


def found_message(number, state, sets=()):
    names = b"".join(s.encode().ljust(136, b"\0") for s in sets).ljust(4 * 136, b"\0")
    return message(FOUND, struct.pack("<QIIqII544s64s16s", number, state, 3, time.time_ns() + 300 * S, len(sets), 0, names, b"web-2",
                                      b"BFROMTHEFLEET2"))


class Uplink:
    """The uplink of a host, stopped; what it would have received is in news, and it can be made to say anything."""

    def __init__(self, bed):
        self.bed, self.news, self.asked, self.done, self.answer = bed, [], [], [], None
        self.pid = bed.role("uplink")["pid"]
        os.kill(self.pid, signal.SIGSTOP)
        self.stolen = Stolen(self.pid, 3)
        self.over = False
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        last = 0
        while not self.over:
            try:
                if time.monotonic() - last > 0.5:
                    last = time.monotonic()
                    self.stolen.send(message(ALIVE, bytes(4)))
                data = self.stolen.sock.recv(16384)
            except BlockingIOError:
                time.sleep(0.002)
                continue
            except OSError:
                return
            if not data:
                return
            self.take(*struct.unpack("<IHHI", data[:12])[2:3], data[12:])

    def take(self, kind, body):
        if kind == NEWS:
            op, origin, cause, why, repeat, sid, gid, score, _, addr, length, created, expires, ended, block, reason = struct.unpack(
                "<BBBBIIIII16sB7xqqq16s128s", body)
            self.news.append({"op": op, "origin": origin, "why": why, "sid": sid, "addr": addr, "len": length, "expires": expires,
                              "id": block.rstrip(b"\0").decode(), "reason": reason.split(b"\0")[0].decode()})
        if kind == SIGNED_DONE:
            which, rc, version, in_force, text = struct.unpack("<IiQQ512s", body)
            self.done.append({"kind": which, "rc": rc, "version": version, "in_force": in_force, "text": text.split(b"\0")[0].decode()})
        if kind == LOOK_UP:
            number = struct.unpack("<Q16sB7x", body)[0]
            self.asked.append(number)
            if self.answer:
                self.stolen.send(self.answer(number))

    def say(self, *messages):
        """All of them: where there is no room, once more."""
        for m in messages:
            while self.stolen.send(m) == 0:
                pass

    def hand_over(self, kind, version, payload, signature, seconds=20):
        """A signed bundle; what the guard says of it."""
        fd = os.memfd_create("signed", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.write(fd, payload)
        fcntl.fcntl(fd, 1033, 15)  # F_ADD_SEALS, all of them
        before = len(self.done)
        socket.send_fds(self.stolen.sock, [message(SIGNED, struct.pack("<IIQ64s", kind, 0, version, signature))], [fd])
        os.close(fd)
        wait_until(lambda: len(self.done) > before, seconds)
        return self.done[-1] if len(self.done) > before else {"rc": None, "text": "no answer"}

    def about(self, target, op=SET):
        return [n for n in self.news if n["op"] == op and n["addr"] == address(target)]

    def close(self):
        self.over = True
        self.thread.join()
        self.stolen.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Host(Bed):
    def __init__(self, agent, letter):
        super().__init__(agent, rules=RULE, extra="decide:\n  brake:\n    minimum: 100000\n    rate: 100000\n")
        self.prefix += letter
        self.server, self.attacker, self.visitor = self.spaces = [self.prefix + x for x in "sav"]
        self.enrolled = self.path("uplink")
        with open(self.conf, "a", encoding="utf-8") as f:
            f.write(f"manager:\n  state-dir: {self.enrolled}\n")

    def enrol(self):
        """What `sekisho enroll` leaves behind; nobody answers there."""
        os.makedirs(self.enrolled, exist_ok=True)
        key, cert = f"{self.enrolled}/key.pem", f"{self.enrolled}/cert.pem"
        self.must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                  cert, "-subj", "/CN=AAAAAAAAAAAAAAAAAAAAAAAAAAA", "-days", "2")
        with open(cert, "rb") as f, open(f"{self.enrolled}/ca.pem", "wb") as g:
            g.write(f.read())
        with open(f"{self.enrolled}/agent.json", "w", encoding="utf-8") as f:
            json.dump({"manager": "https://127.0.0.1:9", "agent": "AAAAAAAAAAAAAAAAAAAAAAAAAAA", "heartbeat_s": 30}, f)
        self.must("chown", "-R", "daemon", self.enrolled)
        os.chmod(self.enrolled, 0o700)
        os.chmod(key, 0o600)

    def block_of(self, target):
        return next((b for b in self.blocks() if b["target"] == target), None)

    def explain(self, target):
        done = self.ctl("explain", target, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def uplink_works(self):
        return wait_until(lambda: self.role("uplink")["state"] == "working", 10) is not None


class Signer:
    """Whoever keeps the signing key."""

    def __init__(self, host, name):
        self.host, self.key = host, host.path(name)
        host.must("openssl", "genpkey", "-algorithm", "ed25519", "-out", self.key)
        der = subprocess.run(["openssl", "pkey", "-in", self.key, "-pubout", "-outform", "DER"], capture_output=True, check=True).stdout
        self.public = base64.b64encode(der[-32:]).decode()

    def sign(self, payload):
        with open(self.host.path("payload"), "wb") as f:
            f.write(payload)
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", self.key, "-rawin", "-in", self.host.path("payload")],
                              capture_output=True, check=True).stdout

    def bundle(self, kind, version, body):
        payload = json.dumps({"kind": ("policy", "rules")[kind], "version": version, "created_ms": 1, "note": "",
                              ("settings", "files")[kind]: body}).encode()
        return kind, version, payload, self.sign(payload)


def rules_of(*texts):
    return [{"name": f"fleet-{i}.rules", "text": t} for i, t in enumerate(texts)]


def fleet_rule(sid, uri):
    return (f'alert http any any -> any any (msg:"fleet {sid}"; flow:established,to_server; http.uri; content:"{uri}"; sid:{sid}; '
            'rev:1;)\n')


def alerts(host, uri, sid):
    def there():
        host.fetch(host.visitor, uri, 1)
        return any(e["alert"]["signature_id"] == sid for e in host.eve("alert"))
    return wait_until(there, 5, 0.3) is not None


def stored(host, kind):
    path = host.path(f"state/{kind}")
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def write_keys(host, *keys):
    path = host.path("state/signing-keys")
    with open(path, "w", encoding="ascii") as f:
        f.write("".join(k + "\n" for k in keys))
    os.chmod(path, 0o644)
    return path


def signed_rules(b, up, t, signer, other):
    done = up.hand_over(*signer.bundle(RULES, 3, rules_of(fleet_rule(5001, "/of-the-fleet"))))
    t.check("without keys nothing is taken", done["rc"] != 0 and "no signing keys" in done["text"], done)
    keys = write_keys(b, signer.public)
    os.chmod(keys, 0o666)
    done = up.hand_over(*signer.bundle(RULES, 3, rules_of(fleet_rule(5001, "/of-the-fleet"))))
    t.check("nor by keys that others could have written", done["rc"] != 0 and "others than root" in done["text"], done)
    os.chmod(keys, 0o644)
    done = up.hand_over(*other.bundle(RULES, 3, rules_of(fleet_rule(5001, "/of-the-fleet"))))
    t.check("nor what another key has signed", done["rc"] != 0 and "not signed" in done["text"] and stored(b, "rules") == [], done)
    kind, version, payload, signature = signer.bundle(RULES, 3, rules_of(fleet_rule(5001, "/of-the-fleet")))
    done = up.hand_over(kind, version, payload.replace(b"5001", b"5002"), signature)
    t.check("nor what has been changed since", done["rc"] != 0 and "not signed" in done["text"], done)
    done = up.hand_over(kind, 4, payload, signature)
    t.check("nor under another version", done["rc"] != 0 and "announced" in done["text"], done)
    before = b.status()["rules"]["loaded"]
    done = up.hand_over(kind, version, payload, signature)
    t.check("rules that are signed are in force", done["rc"] == 0 and done["in_force"] == 3, done)
    s = b.status()
    t.check("beside this host's own", s["rules"]["loaded"] == before + 1 and s["manager"]["rules"]["version"] == 3, s["rules"])
    t.check("and find what they look for", alerts(b, "/of-the-fleet", 5001))
    done = up.hand_over(kind, version, payload, signature)
    t.check("the same again is nothing new", done["rc"] == 0 and done["in_force"] == 3, done)
    done = up.hand_over(*signer.bundle(RULES, 2, rules_of(fleet_rule(5003, "/older"))))
    t.check("an older version is refused", done["rc"] != 0 and "later version" in done["text"] and done["in_force"] == 3, done)
    loads = b.status()["rules"]["generation"]
    done = up.hand_over(*signer.bundle(RULES, 5, rules_of(fleet_rule(5004, "/new"), 'alert http any any -> any any (msg:"x"; kontent:"x"; sid:5005;)\n')))
    t.check("rules that the engine refuses are rolled back, and it is said where", done["rc"] != 0 and "fleet-1.rules:1" in done["text"] and
            done["in_force"] == 3, done)
    t.check("the old ones stay", b.status()["rules"]["loaded"] == before + 1 and len(stored(b, "rules")) == 1 and
            stored(b, "rules")[0].startswith("3-"), (stored(b, "rules"), loads))
    t.check("status says what was refused", b.status()["manager"]["rules"]["refused"]["version"] == 5 and
            "5 REFUSED" in b.ctl("status").stdout, b.ctl("status").stdout)
    done = up.hand_over(*signer.bundle(RULES, 6, rules_of(RULE, fleet_rule(5006, "/six"))))
    t.check("a rule that is there already, word for word, does no harm", done["rc"] == 0 and
            b.status()["rules"]["loaded"] == before + 1, done)
    t.check("what was before is gone", not alerts(b, "/of-the-fleet-no-more?/of-the-fleet", 5007) and alerts(b, "/six", 5006) and
            len(stored(b, "rules")) == 1, stored(b, "rules"))


def longest(host):
    done = host.ctl("block", "203.0.113.240", "--for", "6h")
    left = (host.block_of("203.0.113.240") or {"seconds_left": done.stderr})["seconds_left"]
    host.ctl("unblock", "203.0.113.240")
    return left


def signed_policy(b, up, t, signer):
    done = up.hand_over(*signer.bundle(POLICY, 1, {"decide.max-block-duration": "10m", "decide.block-duration": "5m", "never": "[203.0.113.241]"}))
    t.check("a policy is in force", done["rc"] == 0 and longest(b) <= 600 and b.ctl("block", "203.0.113.241").returncode == 1,
            (done, longest(b)))
    t.check("whom this host spares it spares all the same", b.ctl("block", "203.0.113.242").returncode == 1)
    done = up.hand_over(*signer.bundle(POLICY, 2, {"decide.max-block-duration": "for ever"}))
    t.check("one that makes no sense is refused, and the setting is named", done["rc"] != 0 and done["in_force"] == 1 and
            longest(b) <= 600 and done["text"].startswith("decide.max-block-duration"), done)
    done = up.hand_over(*signer.bundle(POLICY, 3, {"guard.state-dir": "/tmp"}))
    t.check("one about what is this host's alone too", done["rc"] != 0 and "may not hold" in done["text"], done)
    t.check("nothing of these is left", len(stored(b, "policy")) == 1, stored(b, "policy"))


def signed(b, t):
    with open(b.conf, "a", encoding="utf-8") as f:
        f.write("never: [203.0.113.242]\n")
    b.ctl("reload", timeout=60)
    signer, other = Signer(b, "sign.pem"), Signer(b, "other.pem")
    with Uplink(b) as up:
        signed_rules(b, up, t, signer, other)
        signed_policy(b, up, t, signer)
    loaded = b.status()["rules"]["loaded"]
    os.kill(b.process.pid, signal.SIGKILL)
    b.process.wait()
    b.log.close()
    t.check("after a kill -9 both are in force again", b.start_agent() and b.uplink_works() and longest(b) <= 600 and
            b.status()["rules"]["loaded"] == loaded and b.status()["manager"]["policy"]["version"] == 1, b.status()["manager"])
    b.stop_agent()
    t.check("--set counts more than a policy", b.start_agent("--set", "decide.max-block-duration=20m", "--set", "decide.block-duration=4m", "--set",
                                                            "manager.rules=no") and
            b.uplink_works() and 600 < longest(b) <= 1200, longest(b))
    t.check("rules of the fleet that are not wanted are not loaded", b.status()["rules"]["loaded"] == loaded - 1)
    with Uplink(b) as up:
        done = up.hand_over(*signer.bundle(RULES, 9, rules_of(fleet_rule(5009, "/nine"))))
        t.check("nor taken", done["rc"] != 0 and "manager.rules" in done["text"], done)
        write_keys(b, other.public)
        done = up.hand_over(*other.bundle(POLICY, 1, {"decide.block-duration": "3m"}))
        t.check("with other keys versions begin anew", done["rc"] == 0 and len(stored(b, "policy")) == 1, (done, stored(b, "policy")))


def gone(host, target, seconds=3):
    return wait_until(lambda: target not in (host.elements() or {}), seconds) is not None


def enrolment(a, t):
    roles = [r["name"] for r in a.status()["roles"]]
    t.check("without a manager there is no uplink", "uplink" not in roles and a.status()["manager"] == {"state": "none"}, roles)
    a.ctl("block", "198.51.100.1", "--for", "5m")
    t.check("explain says that there is no manager", a.explain("198.51.100.1")["reported"] == {"state": "no-manager"})
    a.enrol()
    done = a.ctl("reload", timeout=60)
    t.check("a host that has enrolled gets its uplink with a reload", done.returncode == 0 and a.uplink_works(), a.agent_log()[-600:])
    t.check("which is confined", bare(a, t, "uplink", ("socket:", "anon_inode:", "/memfd:sekisho", a.enrolled, "pipe:")) > 0)
    t.check("explain says that it is not connected", a.explain("198.51.100.1")["reported"]["state"] == "not-connected")
    a.ctl("unblock", "198.51.100.1")


def news_arrive(a, up, t):
    a.fetch(a.attacker, ATTACK, 1)
    t.check("an attack is blocked", a.wait_blocked(ATTACKER) is not None)
    t.check("and told, with its rule", wait_until(lambda: up.about(ATTACKER)) is not None and up.about(ATTACKER)[0]["sid"] == 1 and
            up.about(ATTACKER)[0]["reason"] == "union select" and up.about(ATTACKER)[0]["id"] == a.block_of(ATTACKER)["id"], up.news)
    a.ctl("block", "198.51.100.2", "--for", "2s")
    t.check("so is an operator's", wait_until(lambda: up.about("198.51.100.2")) is not None)
    gone(a, "198.51.100.2", 5)
    a.ctl("block", "198.51.100.3", "--for", "60s")
    a.ctl("block", "198.51.100.3", "--for", "120s")
    t.check("a later end is told", wait_until(lambda: len(up.about("198.51.100.3")) == 2) is not None, up.about("198.51.100.3"))
    a.ctl("unblock", "198.51.100.3")
    t.check("what is unblocked is told", wait_until(lambda: up.about("198.51.100.3", END)) is not None)
    t.check("what runs out by itself is not", not up.about("198.51.100.2", END))


def spreads(a, b, ups, t):
    """A's block appears on B and ends there in the same second; what comes back to A changes nothing."""
    a.ctl("unblock", ATTACKER)
    a.ctl("block", "203.0.113.5", "--for", "8s", "--reason", "at a")
    wait_until(lambda: ups["a"].about("203.0.113.5"))
    n = ups["a"].about("203.0.113.5")[0]
    end = n["expires"] // 10**6 * 10**6  # the manager counts milliseconds
    before = a.block_of("203.0.113.5")
    for up in ups.values():
        up.say(fleet_message(SET, "203.0.113.5", expires=end, block=n["id"], host="web-1", reason=n["reason"]))
    t.check("A's block is in B's kernel", b.wait_blocked("203.0.113.5") is not None, b.elements())
    on_b = b.block_of("203.0.113.5")
    t.check("as the fleet's", on_b["origin"] == "fleet" and on_b["reason"] == "at a" and on_b["fleet"]["host"] == "web-1" and
            on_b["fleet"]["id"] == n["id"], on_b)
    t.check("`blocks --origin fleet` has it", "203.0.113.5" in b.ctl("blocks", "--origin", "fleet").stdout)
    text = b.ctl("explain", "203.0.113.5").stdout
    t.check("`explain` names host and block", "web-1" in text and n["id"] in text and "at a" in text, text)
    t.check("EVE tells of it", wait_until(lambda: [e for e in b.eve("block") if e["block"].get("origin") == "fleet"]) is not None)
    t.check("B tells nobody of it", not ups["b"].about("203.0.113.5"))
    after = a.block_of("203.0.113.5")
    same = ("id", "origin", "reason", "created", "expires", "requests")
    t.check("on A it is what it was", [before[k] for k in same] == [after[k] for k in same], (before, after))
    left = end / S - time.time()
    while "203.0.113.5" in (b.elements() or {}):
        time.sleep(0.01)
    late_b = time.time() - end / S
    late_a = 0 if "203.0.113.5" not in (a.elements() or {}) else wait_until(lambda: "203.0.113.5" not in (a.elements() or {}), 3, 0.01)
    t.check("both kernels let go in the same second", left > 1 and abs(late_b) < 1 and late_a is not None and late_a < 1,
            (left, late_b, late_a))


def longest_wins(b, up, t):
    now = time.time_ns()
    b.ctl("block", "203.0.113.6", "--for", "60s")
    up.say(fleet_message(SET, "203.0.113.6", expires=now + 300 * S))
    t.check("the fleet's later end counts", wait_until(lambda: (b.elements() or {}).get("203.0.113.6", 0) > 200) is not None)
    t.check("the block stays the operator's", b.block_of("203.0.113.6")["origin"] == "operator")
    up.say(fleet_message(SET, "203.0.113.6", expires=now + 10 * S))
    t.check("and never ends before this host's own", wait_until(lambda: 10 < (b.elements() or {}).get("203.0.113.6", 0) <= 60) is not None,
            b.elements())
    up.say(fleet_message(SET, "203.0.113.7", expires=now + 300 * S), fleet_message(SET, "203.0.113.7", expires=now + 20 * S))
    t.check("what is only the fleet's becomes shorter", wait_until(lambda: 0 < (b.elements() or {}).get("203.0.113.7", 99) <= 20) is not None)
    up.say(fleet_message(END, "203.0.113.6"), fleet_message(END, "203.0.113.7"))
    t.check("the manager lifts both", gone(b, "203.0.113.6") and gone(b, "203.0.113.7"), b.elements())
    b.ctl("block", "203.0.113.10", "--for", "60s")
    b.ctl("unblock", "203.0.113.10")
    b.ctl("block", "203.0.113.10", "--for", "60s")
    up.say(fleet_message(END, "203.0.113.10"), fleet_message(SET, "203.0.113.11", expires=now + 60 * S))
    b.wait_blocked("203.0.113.11")
    t.check("but the end that this host has told itself ends nothing that came after it", "203.0.113.10" in (b.elements() or {}), b.elements())
    b.ctl("unblock", "203.0.113.10")
    up.say(fleet_message(END, "203.0.113.11"))
    up.say(fleet_message(SET, "2001:db8:5::", 48, expires=now + 60 * S), fleet_message(SET, "198.51.0.0", 112, expires=now + 60 * S))
    t.check("networks too", wait_until(lambda: {"2001:db8:5::/48", "198.51.0.0/16"} <= set(b.elements() or {})) is not None, b.elements())
    up.say(fleet_message(END, "2001:db8:5::", 48), fleet_message(END, "198.51.0.0", 112))


def joins(b, up, t):
    """A rule of B asks for what the fleet wants already: it becomes B's, and B tells of it."""
    up.say(fleet_message(SET, VISITOR, expires=time.time_ns() + 300 * S))
    b.wait_blocked(VISITOR)
    known = b.block_of(VISITOR)["id"]
    b.ctl("block", VISITOR, "--for", "30s", "--reason", "here too")
    mine = b.block_of(VISITOR)
    t.check("what is blocked here too is this host's", mine["origin"] == "operator" and mine["id"] == known and mine["fleet"] and
            mine["reason"] == "here too", mine)
    t.check("as long as the fleet says", mine["seconds_left"] > 250, mine)
    t.check("and told with this host's end", wait_until(lambda: up.about(VISITOR)) is not None and
            up.about(VISITOR)[-1]["expires"] < time.time_ns() + 31 * S, up.about(VISITOR))
    up.say(fleet_message(END, VISITOR))
    gone(b, VISITOR)


def unblocked_here(b, up, t):
    end = time.time_ns() + 300 * S
    again = fleet_message(SET, "203.0.113.8", expires=end)
    up.say(again)
    b.wait_blocked("203.0.113.8")
    done = b.ctl("unblock", "203.0.113.8")
    t.check("a block of the fleet can be unblocked here, and that says what lifts it everywhere", done.returncode == 0 and
            "sekisho-manager unblock 203.0.113.8" in done.stderr, done.stderr)
    up.say(fleet_message(BEGIN), again, message(FLEET_DONE, struct.pack("<Q", 7)), fleet_message(SET, "203.0.113.9", expires=end))
    b.wait_blocked("203.0.113.9")
    t.check("it is not set again", "203.0.113.8" not in b.elements(), b.elements())
    up.say(fleet_message(SET, "203.0.113.8", expires=end + 60 * S))
    t.check("until the fleet says something new of it", b.wait_blocked("203.0.113.8") is not None)
    up.say(fleet_message(END, "203.0.113.8"), fleet_message(END, "203.0.113.9"))


def snapshot(b, up, t):
    end = time.time_ns() + 300 * S
    up.say(*[fleet_message(SET, f"203.0.113.{i}", expires=end) for i in range(20, 60)])
    wait_until(lambda: len(b.elements() or {}) >= 40)
    up.say(fleet_message(BEGIN), *[fleet_message(SET, f"203.0.113.{i}", expires=end) for i in range(20, 40)])
    time.sleep(0.5)
    t.check("a snapshot that is not whole ends nothing", len(b.elements()) == 40, len(b.elements()))
    up.say(message(FLEET_DONE, struct.pack("<Q", 8)))
    t.check("one that is ends what is not in it", wait_until(lambda: len(b.elements() or {}) == 20) is not None, len(b.elements()))
    up.say(*[fleet_message(END, f"203.0.113.{i}") for i in range(20, 40)])


def manager_state(b, up, t):
    up.say(manager_message(addresses=["203.0.113.200", "2001:db8:f::1"]))
    t.check("status shows the connection", wait_until(lambda: b.status()["manager"]["state"] == "connected") is not None)
    m = b.status()["manager"]
    t.check("with what waits, what was told, and the certificate's end", m["spooled"] == 3 and m["sent"] == 17 and m["lost"] == 0 and
            m["certificate_seconds"] > 29 * 86400 and m["url"].startswith("https://manager.example"), m)
    t.check("also as text", "connected since" in b.ctl("status").stdout, b.ctl("status").stdout)
    up.say(fleet_message(SET, "203.0.113.200", expires=time.time_ns() + 60 * S))
    done = b.ctl("block", "2001:db8:f::1")
    t.check("the manager is never blocked", done.returncode == 1 and "manager" in done.stderr and
            wait_until(lambda: [e for e in b.eve("block") if e["block"].get("refused_by", {}).get("kind") == "manager"]) is not None,
            done.stderr)
    up.say(manager_message(state=REFUSED, text="\x1b[2Jrevoked\n"))
    t.check("what the uplink says is shown as plain text", wait_until(lambda: b.status()["manager"]["state"] == "refused") is not None and
            b.status()["manager"]["failure"] == "?[2Jrevoked?", b.status()["manager"])
    t.check("its addresses stay spared", b.ctl("block", "203.0.113.200").returncode == 1)
    up.say(manager_message(addresses=["203.0.113.201"]))
    t.check("until it has others", wait_until(lambda: b.ctl("block", "203.0.113.200", "--for", "5s").returncode == 0) is not None)
    b.ctl("unblock", "203.0.113.200")


def explained(b, up, t):
    b.ctl("block", "203.0.113.70", "--for", "5m")
    up.answer = lambda n: found_message(n, THERE, ["REGIONAL eu-west-1 sekisho-1", "CLOUDFRONT us-east-1 sekisho-cf"])
    r = b.explain("203.0.113.70")["reported"]
    t.check("explain asks the manager", r["state"] == "known" and r["in_force"] and r["hosts"] == 3 and
            r["aws_waf"][0] == {"set": "sekisho-1", "scope": "REGIONAL", "region": "eu-west-1"}, r)
    text = b.ctl("explain", "203.0.113.70").stdout
    t.check("and names the IP sets", "sekisho-cf" in text and "CLOUDFRONT" in text, text)
    up.answer = lambda n: found_message(n, NOT_THERE)
    t.check("what the manager does not block", b.explain("203.0.113.70")["reported"] == {"state": "known", "in_force": False})
    up.answer = lambda n: found_message(n, WAITING)
    t.check("what has not been told yet", b.explain("203.0.113.70")["reported"] == {"state": "waiting"})
    up.answer = lambda n: found_message(n + 1000, THERE)
    began = time.monotonic()
    t.check("no answer holds nobody up", b.explain("203.0.113.70")["reported"]["state"] == "waiting" and
            1.5 < time.monotonic() - began < 4, time.monotonic() - began)
    up.answer = None
    b.ctl("unblock", "203.0.113.70")


def never(b, up, t):
    end = time.time_ns() + 60 * S
    before = b.status()["manager"]["fleet"]["refused"]
    up.say(*[fleet_message(SET, a, expires=end) for a in (SERVER_A, "169.254.169.254", "127.0.0.1")],
           fleet_message(SET, "10.0.0.0", 104, expires=end), fleet_message(SET, bytes(16), 0, expires=end),
           fleet_message(SET, "203.0.113.77", 120, expires=end))
    t.check("the fleet blocks nobody whom this host must spare", wait_until(
        lambda: b.status()["manager"]["fleet"]["refused"] == before + 6) is not None and b.elements() == {},
        (b.status()["manager"]["fleet"], b.elements()))


def garbage(b, t, what, *messages):
    old = b.role("uplink")
    b.ctl("block", "203.0.113.90", "--for", "5m")
    guard, engine = b.role("guard")["pid"], b.role("engine")["pid"]
    with Uplink(b) as up:
        up.say(*messages)
        took = wait_until(lambda: b.role("uplink")["pid"] not in (0, old["pid"]) and b.ready(), 10)
    t.check(f"an uplink that sends {what} is started anew", took is not None, b.agent_log()[-400:])
    t.check("and nobody else", b.role("guard")["pid"] == guard and b.role("engine")["pid"] == engine and
            "203.0.113.90" in (b.elements() or {}), b.elements())


def hostile(b, t):
    end = time.time_ns() + 60 * S
    good = fleet_message(SET, "203.0.113.91", expires=end)
    garbage(b, t, "noise", os.urandom(80))
    garbage(b, t, "an operation that there is not", good[:12] + b"\x07" + good[13:])
    garbage(b, t, "text without an end", fleet_message(SET, "203.0.113.91", expires=end, host="x" * 64))
    garbage(b, t, "a time before all time", fleet_message(SET, "203.0.113.91", expires=-1))
    garbage(b, t, "what only the engine may ask for", message(12, bytes(1000)))
    garbage(b, t, "nine addresses", message(MANAGER, struct.pack("<II", 1, 9) + manager_message()[12 + 8:]))
    with Uplink(b) as up:
        up.say(*[fleet_message(SET, f"10.{i >> 8}.{i & 255}.9", expires=end) for i in range(6000)])
        t.check("a flood of blocks does not hold up the guard", b.ready())
        began = time.monotonic()
        b.ctl("block", "203.0.113.92", "--for", "60s")
        t.check("nor an operator", time.monotonic() - began < 2, time.monotonic() - began)
        t.check("all are set in the end", wait_until(lambda: b.status()["manager"]["fleet"]["in_force"] == 6000, 20) is not None,
                b.status()["manager"]["fleet"])
        up.say(fleet_message(BEGIN), message(FLEET_DONE, struct.pack("<Q", 9)))
        t.check("and end with a snapshot", wait_until(lambda: b.status()["manager"]["fleet"]["in_force"] == 0, 20) is not None)
        up.say(*[manager_message(addresses=[f"192.0.2.{i % 200}"]) for i in range(2000)])
        t.check("an uplink whose manager moves all the time does not hold it up", b.ready())
    b.ctl("unblock", "--all")


def nothing_is_lost(b, t):
    """The uplink dies, the guard dies: what is in force is told again, and what is the fleet's stays."""
    for i in range(3):
        b.ctl("block", f"203.0.113.{100 + i}", "--for", "5m")
    os.kill(b.role("uplink")["pid"], signal.SIGKILL)
    t.check("an uplink that was killed is back", wait_until(lambda: b.role("uplink")["restarts"] > 0 and b.ready(), 10) is not None)
    with Uplink(b) as up:
        # The one that was killed, or this one, has been told; the next one certainly is.
        up.say(fleet_message(SET, "203.0.113.110", expires=time.time_ns() + 300 * S))
        b.wait_blocked("203.0.113.110")
    os.kill(b.process.pid, signal.SIGKILL)
    b.process.wait()
    b.log.close()
    t.check("the guard is started again after a kill -9", b.start_agent() and b.uplink_works(), b.agent_log()[-400:])
    on = b.block_of("203.0.113.110")
    t.check("the fleet's block is what it was", on and on["origin"] == "fleet" and on["fleet"]["host"] == "web-2", on)
    os.kill(b.role("uplink")["pid"], signal.SIGSTOP)
    many = [v4(f"10.{200 + i // 62500}.{i // 250 % 250}.{i % 250 + 1}") for i in range(8000)]
    with Stolen(b.role("engine")["pid"], 4) as engine:
        for who in many:
            while engine.send(block_request(who)) == 0:
                pass
    t.check("while nobody listens more is blocked than the channel holds",
            wait_until(lambda: b.status()["blocks"]["set"] >= len(many), 10) is not None, b.status()["blocks"])
    with Uplink(b) as up:
        whole = wait_until(lambda: any(n["op"] == DONE for n in up.news), 20)
        begin = max(i for i, n in enumerate(up.news) if n["op"] == BEGIN) if whole is not None else 0
        told = {n["addr"] for n in up.news[begin:] if n["op"] == SET}
        t.check("whoever listens then is told everything", whole is not None and told == set(many) | {address(f"203.0.113.{100 + i}") for i in range(3)}, (len(up.news), len(told)))
        t.check("but not what is only the fleet's", not up.about("203.0.113.110"))
    b.ctl("unblock", "--all")


def stops(b, t):
    began = time.monotonic()
    t.check("the agent stops with its uplink", b.stop_agent() == 0 and time.monotonic() - began < 12, time.monotonic() - began)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    agent = ap.parse_args().agent
    t = Tally("live_fleet")
    os.environ["SEKISHO_SECRET"] = "of whoever starts the agent"
    if "run itself" not in subprocess.run([agent, "role-uplink"], capture_output=True, text=True, check=False).stderr:
        t.skip("the fleet", "this agent has no uplink")
        return t.end()
    with Host(agent, "1") as a, Host(agent, "2") as b:
        b.enrol()
        if t.check("both agents start", a.start_agent() and b.start_agent() and b.uplink_works(), b.agent_log()[-600:]):
            enrolment(a, t)
            with Uplink(a) as up_a, Uplink(b) as up_b:
                up_a.say(manager_message())
                up_b.say(manager_message())
                news_arrive(a, up_a, t)
                spreads(a, b, {"a": up_a, "b": up_b}, t)
                for step in (longest_wins, joins, unblocked_here, snapshot, manager_state, explained, never):
                    step(b, up_b, t)
            for step in (hostile, nothing_is_lost, signed, stops):
                step(b, t)
        log = a.agent_log() + b.agent_log()
        t.check("no sanitizer has anything to say", "Sanitizer" not in log and "runtime error" not in log, log[-2000:])
    t.check("nothing is left behind", a.left_behind() + b.left_behind() == [], a.left_behind() + b.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
