"""Two hosts with agents, a manager and AWS (moto), each in a network namespace:

    attackers 10.78.0.0/16 ── attacker ── 10.77.1.1  A (nginx; agent) ─┐
                                                                      ├─ 10.79.0.0/24, bridge in the manager's namespace
                                       10.77.5.1  B (nginx; agent) ───┤      10.79.0.1 manager
                  attacker ────────────┘                              └──── 10.79.0.9 moto

A and B are enrolled with one token. `with Fleet(agent, manager) as f:`
"""
import json
import os
import subprocess
import sys
import threading

from bed import ROOT, REGION, IpSets, Manager, Moto, Tally, live_bed, wait_until  # noqa: F401

sys.path.insert(1, os.path.join(ROOT, "tests/live"))
import nftables  # noqa: E402

MANAGER, MOTO = "10.79.0.1", "10.79.0.9"
ADDRESS = {"A": "10.79.0.2", "B": "10.79.0.3"}
LATENCY = os.path.join(ROOT, "tests/bench/block_latency.py")
SWARM = os.path.join(ROOT, "tests/live/swarm.py")
# The attackers are all the clients that there are, and the brake would spare them.
UNBRAKED = "decide:\n  max-blocks: 400000\n  brake:\n    share: 100\n    minimum: 1000000\n    rate: 1000000\n"
RULES = ('drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"SQL injection: UNION SELECT"; flow:established,to_server; '
         'http.uri; content:"union"; nocase; content:"select"; nocase; distance:1; within:20; '
         'classtype:web-application-attack; sid:1; rev:1; metadata: sekisho_block 30m;)\n'
         'drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"short"; flow:established,to_server; '
         'http.uri; content:"/short-block"; sid:2; rev:1; metadata: sekisho_block 8s;)\n')


class HostA(live_bed.Bed):
    letter = "A"
    processor = []  # the command that keeps what follows on one, if the host has one to itself

    def __init__(self, agent, rules=RULES, extra=""):
        super().__init__(agent, rules=rules, keep_on_stop=False, extra=UNBRAKED + extra)
        # A host name of its own, which the manager is told.
        self.inside = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', f"host-{self.letter.lower()}"]
        with open(self.conf, "a", encoding="utf-8") as f:
            f.write(f"manager:\n  state-dir: {self.path('uplink')}\n")

    def enrol(self, url, token, fingerprint, wait=30):
        """The command as a person types it, in this host's namespace."""
        secret = self.path("token")
        with open(secret, "w", encoding="ascii") as f:
            f.write(token + "\n")
        os.chmod(secret, 0o600)
        done = self.sh(self.server, *self.inside, self.agent, "enroll", "--manager", url, "--token-file", secret, "--ca-fingerprint",
                       fingerprint, "-c", self.conf, timeout=wait)
        os.unlink(secret)
        return done

    def uplinked(self):
        return self.role("uplink")["state"] == "working"


class HostB(HostA):
    letter = "B"

    def __init__(self, agent, rules=RULES, extra=""):
        super().__init__(agent, rules, extra)
        self.prefix = f"skc{os.getpid()}"
        self.server = self.prefix + "s"
        self.spaces = [self.server]

    def build(self):
        self.must("ip", "-n", self.server, "link", "set", "lo", "up")
        self.start_nginx()


class Fleet:
    def __init__(self, agent, manager, moto=True, rules=RULES, settings="", extra=""):
        self.a, self.b = HostA(agent, rules, extra), HostB(agent, rules, extra)
        self.hub, self.cloud = f"skm{os.getpid()}", f"skw{os.getpid()}"
        self.program, self.settings, self.with_moto = manager, settings, moto
        self.manager = self.moto = self.sets = None
        self.must = self.a.must

    # --- building ---

    def attach(self, netns, name, address):
        self.must("ip", "link", "add", name, "netns", self.hub, "type", "veth", "peer", "name", "mgmt0", "netns", netns)
        self.must("ip", "-n", self.hub, "link", "set", name, "master", "br0")
        self.must("ip", "-n", self.hub, "link", "set", name, "up")
        self.must("ip", "-n", netns, "addr", "add", address + "/24", "dev", "mgmt0")
        self.must("ip", "-n", netns, "link", "set", "mgmt0", "up")
        self.must("ip", "-n", netns, "link", "set", "lo", "up")

    def attackers_to_b(self):
        self.must("ip", "link", "add", "eth5", "netns", self.b.server, "type", "veth", "peer", "name", "eth5", "netns",
                  self.a.attacker)
        for ns, last in ((self.b.server, 1), (self.a.attacker, 2)):
            self.must("ip", "-n", ns, "addr", "add", f"10.77.5.{last}/24", "dev", "eth5")
            self.must("ip", "-n", ns, "link", "set", "eth5", "up")
        self.must("ip", "-n", self.a.attacker, "route", "add", "local", "10.78.0.0/16", "dev", "lo")
        self.must("ip", "-n", self.a.server, "route", "add", "10.78.0.0/16", "via", "10.77.1.2")
        self.must("ip", "-n", self.b.server, "route", "add", "10.78.0.0/16", "via", "10.77.5.2")

    def build(self):
        for ns in (self.hub, self.cloud):
            self.must("ip", "netns", "add", ns)
        self.must("ip", "-n", self.hub, "link", "set", "lo", "up")
        self.must("ip", "-n", self.hub, "link", "add", "br0", "type", "bridge")
        self.must("ip", "-n", self.hub, "addr", "add", MANAGER + "/24", "dev", "br0")
        self.must("ip", "-n", self.hub, "link", "set", "br0", "up")
        self.attach(self.cloud, "hub-w", MOTO)
        self.a.__enter__()
        self.b.__enter__()
        self.attach(self.a.server, "hub-a", ADDRESS["A"])
        self.attach(self.b.server, "hub-b", ADDRESS["B"])
        self.attackers_to_b()

    def start_cloud(self):
        self.moto = Moto(MOTO, self.cloud)
        self.moto.__enter__()

    def make_manager(self):
        settings = (self.moto.settings() if self.moto else "") + self.settings
        self.manager = Manager(self.program, MANAGER, netns=self.hub, settings=settings,
                               env=self.moto.env if self.moto else None, port=8443)

    def start_manager(self):
        self.make_manager()
        self.manager.init().start()

    def start_hosts(self):
        token = self.manager.token("--uses", "2")
        for host in (self.a, self.b):
            done = host.enrol(self.manager.url, token, self.manager.fingerprint())
            if done.returncode:
                raise RuntimeError("enroll: " + done.stdout + done.stderr)
            if not host.start_agent() or wait_until(host.uplinked, 20) is None:
                raise RuntimeError("the agent does not start:\n" + host.agent_log())

    def __enter__(self):
        try:
            self.build()
            if self.with_moto:
                self.start_cloud()
            self.start_manager()
            self.start_hosts()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        for x in (self.a, self.b, self.manager, self.moto):
            if x is not None:
                x.__exit__(None, None, None)
        for ns in (self.hub, self.cloud):
            subprocess.run(["ip", "netns", "del", ns], capture_output=True, check=False)

    # --- what happens in it ---

    def attack(self, source, url=live_bed.ATTACK, host="10.77.1.1"):
        """HTTP status or None of a request from an attacker's address."""
        done = self.a.sh(self.a.attacker, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "2", "--interface",
                         source, f"http://{host}{url}")
        return int(done.stdout) if done.returncode == 0 else None

    def ip_set(self, name="sekisho-v4-0"):
        """Addresses of an IP set as botocore reads it, from the manager's namespace."""
        with nftables.inside(self.hub):
            if self.sets is None:
                self.sets = IpSets(self.moto.endpoint, self.moto.env)
            return self.sets.addresses(name) or set()


class SetWatch(threading.Thread):
    """When each address was first seen in the IP set, and when it was no longer: wall-clock ns."""

    def __init__(self, fleet, every=0.1):
        super().__init__(daemon=True)
        self.fleet, self.every, self.ending = fleet, every, threading.Event()
        self.came, self.went = {}, {}

    def run(self):
        import time  # pylint: disable=import-outside-toplevel
        before = set()
        with nftables.inside(self.fleet.hub):
            sets = IpSets(self.fleet.moto.endpoint, self.fleet.moto.env)
            while not self.ending.wait(self.every):
                now_in = {a.split("/")[0] for a in sets.addresses("sekisho-v4-0") or ()}
                when = time.time_ns()
                for a in now_in - before:
                    self.came.setdefault(a, when)
                for a in before - now_in:
                    self.went[a] = when
                before = now_in

    def stop(self):
        self.ending.set()
        self.join(10)


def listener(host, count):
    """Prints ADDRESS NANOSECONDS for each element that appears in the host's sets. It runs where the host's agent runs: another
    processor may need milliseconds to wake, or to be given back by the machine below this one."""
    p = subprocess.Popen([*host.processor, "ip", "netns", "exec", host.server, sys.executable, "-B", LATENCY, "listen", str(count)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    return p


def sniffer(host, device="eth1"):
    """Prints ADDRESS NANOSECONDS of the last packet with payload of each attacker."""
    p = subprocess.Popen(["ip", "netns", "exec", host.server, sys.executable, "-B", LATENCY, "sniff", device],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    return p


def pairs_of(process):
    out = process.communicate(timeout=20)[0]
    return {a: int(t) for a, t in (line.split() for line in out.splitlines())}


def swarm(fleet, count, seed=7, shortest=0.008, longest=0.024):
    return subprocess.Popen(["ip", "netns", "exec", fleet.a.attacker, sys.executable, "-B", SWARM, str(count), str(seed),
                             str(shortest), str(longest)], stdout=subprocess.PIPE, text=True)


def can_run(t, name, moto=True):
    """Says what is missing; False then."""
    from bed import venv_tool  # pylint: disable=import-outside-toplevel
    if os.geteuid() != 0:
        t.skip(name, "needs root for network namespaces")
        return False
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        t.skip(name, "this kernel lets us make no network namespace")
        return False
    try:
        import boto3  # noqa: F401  pylint: disable=import-outside-toplevel,unused-import
        have = venv_tool("moto_server") is not None
    except ImportError:
        have = False
    if moto and not have:
        t.skip(name, "moto and boto3 are not there (./dev test makes build/venv)")
        return False
    return True


def json_of(done):
    return json.loads(done.stdout) if done.returncode == 0 else None
