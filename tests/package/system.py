#!/usr/bin/env python3
"""The product from its packages alone, on Debian hosts with systemd: a manager and two instances that install and enrol
themselves by user data, an attack, an upgrade under traffic, the end of an instance, and a purge.

    system.py --packages DIR       as root; needs mmdebstrap, systemd-nspawn and moto
"""
import argparse
import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import hosts
from hosts import GROUP, HOOK, MANAGER_NAME, MANAGER_URL, REGION, ROOT, IpSets, find, version_of, wait_until

sys.path.insert(0, os.path.join(ROOT, "packaging/userdata"))
import make  # noqa: E402  # pylint: disable=import-error,wrong-import-position

ATTACK = "/index.html?id=1%20UNION%20SELECT%201"
BUCKET, PREFIX = "packages.example.com", "sekisho/stable"
CONFIG = f"""names: [{MANAGER_NAME}]
identity:
  certificates: /etc/sekisho/region.pem
  required: yes
  accounts: ["123456789012"]
aws:
  endpoint: @ENDPOINT@
waf:
  enabled: yes
  targets:
    - {{scope: REGIONAL, region: {REGION}, prefix: sekisho, create: yes}}
"""
# What a package may leave: accounts (their files might be found), what apt and systemd write of themselves.
STAYS = re.compile(r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/var/lib/(dpkg|apt|systemd|cloud|sgml-base|pam)/|"
                   r"/var/cache/|/var/log/(apt|journal|dpkg|private|sekisho-userdata\.log)|/run/(systemd|udev|log|lock|user|dbus)/|"
                   r"/var/tmp/systemd-private|/etc/(ld\.so\.cache|\.pwd\.lock)|/etc/systemd/system/(graphical|multi-user)|/root/")


def newer(packages, folder):
    """The same packages with the next version: what a release does to the changelog."""
    os.makedirs(folder)
    old = version_of(find(packages, "sekisho"))
    new = re.sub(r"\d+$", lambda m: str(int(m[0]) + 1), old)
    for name in ("sekisho", "sekisho-rules", "sekisho-manager"):
        deb = find(packages, name)
        tree = tempfile.mkdtemp(dir=folder)
        subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
        control = os.path.join(tree, "DEBIAN/control")
        text = open(control, encoding="utf-8").read()
        with open(control, "w", encoding="utf-8") as f:
            f.write(re.sub(r"^Version: .*$", "Version: " + new, text, flags=re.M))
        with open(os.path.join(tree, "usr/share/doc", name, "NEWS"), "w", encoding="utf-8") as f:
            f.write(f"{name} {new}\n")
        subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "-b", tree,
                        os.path.join(folder, os.path.basename(deb).replace(f"_{old}_", f"_{new}_"))], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)
    return new


class Fleet:
    def __init__(self, bed, t):
        self.bed, self.t = bed, t
        self.m = self.a = self.b = self.sets = None

    def agents(self):
        return {x["host"]: x for x in self.m.json("sekisho-manager", "agents") or []}

    def in_waf(self, address):
        return address + "/32" in (self.sets.addresses("sekisho-v4-0") or ())

    def entries(self):
        got = self.m.json("sekisho-manager", "entries") or []
        return {e["target"] for e in (got["entries"] if isinstance(got, dict) else got)}

    def alerts_from(self, address):
        got = self.m.json("sekisho-manager", "events", "--type", "alert", "--limit", "1000") or []
        got = got["events"] if isinstance(got, dict) else got
        return [e for e in got if address in json.dumps(e)]


# --- the manager ---

def manager(f):
    t, m = f.t, f.bed.host("manager")
    f.m = m
    m.boot()
    state = m.wait_booted()
    t.check("manager: the host boots", state == "running", state)
    f.plain = m.files()
    debs = m.copy(find(f.bed.packages, "sekisho-manager"))
    m.must("apt-get", "-q", "update")
    done = m.apt("install", *debs)
    t.check("manager: its package installs, with what it depends on from Debian", done.returncode == 0, done.stderr[-600:])
    t.check("manager: it is neither enabled nor started", m.active("sekisho-manager") == "inactive" and
            m.sh("systemctl", "is-enabled", "sekisho-manager").stdout.strip() == "disabled")
    config = m.sh("stat", "-c", "%a %U %G", "/etc/sekisho/manager.yaml").stdout.strip()
    t.check("manager: its configuration is for root and itself only", config == "640 root sekisho-manager", config)
    with open(os.path.join(f.bed.ec2.identity_dir(), "cert.pem"), encoding="ascii") as pem:
        m.write("/etc/sekisho/region.pem", f"# region: {REGION}\n{pem.read()}")
    with open(m.at("/etc/sekisho/manager.yaml"), "a", encoding="utf-8") as conf:
        conf.write(CONFIG.replace("@ENDPOINT@", f.bed.moto.endpoint))
    said = m.must("sekisho-manager", "init", "--name", MANAGER_NAME)
    t.check("manager: init makes CA, keys and database", "fingerprint" in said, said)
    m.must("systemctl", "enable", "--now", "sekisho-manager")
    t.check("manager: the service starts", m.active("sekisho-manager") == "active", m.journal("sekisho-manager"))
    who = m.sh("ps", "-o", "user=", "-p", m.show("sekisho-manager", "MainPID")).stdout.strip() or \
        m.sh("stat", "-c", "%U", "/proc/" + m.show("sekisho-manager", "MainPID")).stdout.strip()
    t.check("manager: as a user of its own", who == "sekisho-manager", who)
    answer = f.bed.within("visitor", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"https://{m.address}:8443/healthz")
    t.check("manager: answers on its port", answer.stdout not in ("", "000"), (answer.stdout, answer.stderr))
    f.sets = IpSets(f.bed.moto.endpoint, f.bed.moto.env)


# --- instances that make themselves part of the fleet ---

def publish(f):
    """As an operator would: packages to a bucket, token and CA to Parameter Store. Returns the user data."""
    s3, ssm = f.bed.client("s3"), f.bed.client("ssm")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    sums = ""
    for name in ("sekisho", "sekisho-manager", "sekisho-rules"):
        deb = find(f.bed.packages, name)
        data = open(deb, "rb").read()
        sums += f"{hashlib.sha256(data).hexdigest()}  {os.path.basename(deb)}\n"
        s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{os.path.basename(deb)}", Body=data)
    s3.put_object(Bucket=BUCKET, Key=PREFIX + "/SHA256SUMS", Body=sums.encode())
    f.token = f.m.must("sekisho-manager", "token", "create", "--uses", "2", "--for", "1h").strip()
    ssm.put_parameter(Name="/sekisho/token", Type="SecureString", Value=f.token)
    ssm.put_parameter(Name="/sekisho/ca", Type="String", Value=f.m.must("sekisho-manager", "ca", "show", "--pem"))
    settings = {"SEKISHO_MANAGER": MANAGER_URL, "SEKISHO_SOURCE": f"s3://{BUCKET}/{PREFIX}", "SEKISHO_S3_ENDPOINT": f.bed.moto.endpoint,
                "SEKISHO_SUMS_SHA256": hashlib.sha256(sums.encode()).hexdigest(), "SEKISHO_TOKEN_PARAMETER": "/sekisho/token",
                "SEKISHO_CA_PARAMETER": "/sekisho/ca", "SEKISHO_TAGS": "role=web", "SEKISHO_RETRY": "1m",
                "SEKISHO_ENROLL_OPTIONS": f"--identity --aws-endpoint {f.bed.moto.endpoint}", "SEKISHO_DRAIN": "yes",
                "SEKISHO_LIFECYCLE_HOOK": HOOK}
    return make.make("debian.sh", [f"{k}={v}" for k, v in settings.items()])


def instances(f):
    t, bed = f.t, f.bed
    data = publish(f)
    f.a, f.b = bed.host("web-a"), bed.host("web-b")
    bed.in_group(f.a, f.b)
    for h in (f.a, f.b):
        h.serve()
        h.user_data(data)
        # Where this test has Auto Scaling.
        h.unit("sekisho-drain.service.d/endpoint.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/sekisho drain --wait "
               f"--aws-endpoint http://{hosts.GATEWAY}:{bed.ec2.port} $SEKISHO_DRAIN_OPTIONS\n")
        h.boot()
    for h in (f.a, f.b):
        wait_until(lambda h=h: h.show("cloud-final", "ActiveState") in ("active", "failed"), 180, .5)
        t.check(f"{h.name}: user data does its work", h.active("cloud-final") == "active", h.journal("cloud-final"))
        t.check(f"{h.name}: the whole host is well", h.wait_booted() == "running", h.sh("systemctl", "--failed").stdout)
        t.check(f"{h.name}: all roles work", wait_until(h.roles, 20) is not None, h.journal("sekisho"))
        enabled = h.sh("systemctl", "is-enabled", "sekisho", "sekisho-drain").stdout.split()
        t.check(f"{h.name}: its services are enabled and running", enabled == ["enabled", "enabled"] and
                h.active("sekisho") == h.active("sekisho-drain") == "active", (enabled, h.journal("sekisho-drain")))
        t.check(f"{h.name}: the token is nowhere on it", h.sh("grep", "-rlF", f.token, "/etc", "/var", "/run", "/root").stdout == "")
    wait_until(lambda: len(f.agents()) == 2 and all(x["state"] == "active" for x in f.agents().values()), 20)
    known = {n: (x["state"], x.get("instance") or x.get("instance_id"), x["tags"]) for n, x in f.agents().items()}
    t.check("the manager knows both, as the instances that they are", known == {
        h.name: ("active", h.instance.id, {"role": "web"}) for h in (f.a, f.b)}, f.agents())


# --- an attack ---

def ends_of(host):
    """{target: end in milliseconds}"""
    return {b["target"]: datetime.datetime.fromisoformat(b["expires"]).timestamp() * 1000 for b in host.json("sekisho", "blocks")}


def attack(f):
    t, bed = f.t, f.bed
    address = bed.address("attacker")
    t.check("attack: before it the attacker is served", bed.get("attacker", f.a) == 200 and bed.get("attacker", f.b) == 200)
    bed.get("attacker", f.a, ATTACK)
    t.check("attack: A blocks", wait_until(lambda: address in (f.a.elements() or ()), 5) is not None, f.a.journal("sekisho"))
    t.check("attack: B blocks too", wait_until(lambda: address in (f.b.elements() or ()), 10) is not None, f.b.journal("sekisho"))
    t.check("attack: and AWS WAF has it", wait_until(lambda: f.in_waf(address), 20, .2) is not None,
            (f.sets.addresses("sekisho-v4-0"), f.m.journal("sekisho-manager")))
    t.check("attack: the manager knows of it", address in f.entries() and f.alerts_from(address), f.entries())
    t.check("attack: neither answers the attacker", bed.get("attacker", f.a, seconds=1) is None and
            bed.get("attacker", f.b, seconds=1) is None)
    t.check("attack: both serve others", bed.get("visitor", f.a) == 200 and bed.get("visitor", f.b) == 200)
    ends = {name: x.get(address) for name, x in (("A", ends_of(f.a)), ("B", ends_of(f.b)), ("manager", {
        e["target"]: e["expires_ms"] for e in f.m.json("sekisho-manager", "entries")}))}
    t.check("attack: it ends everywhere at the same moment, whatever the time zone", None not in ends.values() and
            max(ends.values()) - min(ends.values()) < 1000, ends)
    why = f.a.sh("sekisho", "explain", address)
    t.check("attack: A explains it", why.returncode == 0 and "SQL" in why.stdout, why.stdout + why.stderr)


# --- an upgrade under traffic ---

class Deaths:
    """What the kernel announces to have been taken out of a host's nftables."""

    def __init__(self, bed, host):
        self.bed, self.host = bed, host
        self.log = open(os.path.join(bed.dir, "nft-monitor"), "w+", encoding="utf-8")
        self.monitor = subprocess.Popen(["ip", "netns", "exec", host.name, "nft", "monitor", "destroy"], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)

    def end(self):
        for verb in ("add", "delete"):  # to see that it hears
            self.bed.within(self.host.name, "nft", verb, "table", "inet", "probe")
        wait_until(lambda: "probe" in self.heard(), 5)
        self.monitor.terminate()
        self.monitor.wait(10)
        return self.heard()

    def heard(self):
        with open(self.log.name, encoding="utf-8") as f:
            return f.read()


class Watch:
    """Elements of a host's table, seen all the time: asked for, and as the kernel announces changes."""

    def __init__(self, bed, host, address):
        self.bed, self.host, self.address = bed, host, address
        self.looks, self.missing, self.passed, self.served, self.over = 0, 0, 0, 0, False
        self.deaths = Deaths(bed, host)
        self.threads = [threading.Thread(target=x) for x in (self.look, self.attack, self.visit)]
        for x in self.threads:
            x.start()

    def look(self):
        while not self.over:
            self.looks += 1
            self.missing += self.address not in (self.host.elements() or ())
            time.sleep(.02)

    def attack(self):
        while not self.over:
            self.passed += self.bed.get("attacker", self.host, ATTACK, 1) is not None

    def visit(self):
        while not self.over:
            self.served += self.bed.get("visitor", self.host) == 200
            time.sleep(.05)

    def end(self):
        self.over = True
        for x in self.threads:
            x.join()
        return self.deaths.end()


def upgrade(f):
    t, a, address = f.t, f.a, f.bed.address("attacker")
    folder = os.path.join(f.bed.dir, "newer")
    version = newer(f.bed.packages, folder)
    before = {b["id"]: b["expires"] for b in a.json("sekisho", "blocks")}
    debs = a.copy(find(folder, "sekisho"), find(folder, "sekisho-rules"))
    with open(a.at("/etc/sekisho/sekisho.yaml"), "a", encoding="utf-8") as conf:
        conf.write("# of this host\n")
    started = a.show("sekisho", "ExecMainStartTimestampMonotonic")
    waiting = a.show("sekisho-drain", "ExecMainStartTimestampMonotonic")
    w = Watch(f.bed, a, address)
    time.sleep(1)
    done = a.apt("install", *debs)
    ready = wait_until(a.roles, 30)
    time.sleep(1)
    destroyed = w.end()
    t.check("upgrade: the newer package is installed", done.returncode == 0 and a.sh(
        "dpkg-query", "-W", "-f", "${Version} ", "sekisho", "sekisho-rules").stdout == f"{version} {version} ", done.stderr[-600:])
    t.check("upgrade: the agent has been started again, and works", ready is not None and
            a.show("sekisho", "ExecMainStartTimestampMonotonic") != started, a.journal("sekisho"))
    t.check("upgrade: what waits for the end of the instance goes on too", a.active("sekisho-drain") == "active" and
            a.show("sekisho-drain", "ExecMainStartTimestampMonotonic") != waiting, a.journal("sekisho-drain"))
    t.check(f"upgrade: the block was in the kernel at each of {w.looks} looks", w.looks > 20 and w.missing == 0,
            (w.looks, w.missing))
    t.check("upgrade: the kernel has announced the end of none", "sekisho" not in destroyed and "table inet probe" in destroyed,
            destroyed[-600:])
    t.check(f"upgrade: the attacker did not get through, {w.served} others did", w.passed == 0 and w.served > 5, (w.passed, w.served))
    after = {b["id"]: b["expires"] for b in a.json("sekisho", "blocks")}
    t.check("upgrade: the same blocks, with the same ends", before == after and before, (before, after))
    ledger = (a.json("sekisho", "status") or {}).get("ledger", {})
    gap = ledger.get("unwatched_seconds", 0)
    t.check(f"upgrade: at most one second was not watched, and status says so: {gap} s", 0 < gap <= 1, ledger)
    t.check("upgrade: what was changed in the configuration is kept", "# of this host" in a.read("/etc/sekisho/sekisho.yaml"))
    t.check("upgrade: it is the same host for its manager", wait_until(
        lambda: f.agents().get("web-a", {}).get("state") == "active", 10) is not None and len(f.agents()) == 2, f.agents())


# --- the end of an instance ---

def end_of_instance(f):
    t, b, bed = f.t, f.b, f.bed
    second = bed.address("second")
    f.m.must("systemctl", "stop", "sekisho-manager")
    bed.get("second", b, ATTACK)
    spooled = wait_until(lambda: (b.json("sekisho", "status") or {}).get("manager", {}).get("spooled", 0) > 0, 15)
    t.check("end: the manager is away, B keeps what it has to tell", spooled is not None, b.json("sekisho", "status"))
    bed.terminate(b)
    told = wait_until(lambda: "terminates this instance" in b.journal("sekisho-drain"), 15, .3)
    t.check("end: B learns from its metadata that its group ends it", told is not None, b.journal("sekisho-drain"))
    f.m.must("systemctl", "start", "sekisho-manager")
    done = wait_until(lambda: bed.ec2.completed, 60, .3)
    t.check("end: the group hears that it may go on", done is not None and
            bed.ec2.completed == [(GROUP, HOOK, b.instance.id, "CONTINUE")], (bed.ec2.completed, b.journal("sekisho-drain")))
    b.kill()
    t.check("end: the manager has been told of the last attack", len(f.alerts_from(second)) > 0 and second in f.entries(), f.entries())
    t.check("end: the manager's list has it as retired, and A as before", wait_until(lambda: {
        n: x["state"] for n, x in f.agents().items()} == {"web-a": "active", "web-b": "retired"}, 15) is not None, f.agents())
    t.check("end: A blocks whom only B has met", wait_until(lambda: second in (f.a.elements() or ()), 15) is not None,
            (f.a.elements(), f.a.json("sekisho", "status").get("manager"), f.m.json("sekisho-manager", "entries")))


# --- a purge ---

def purge(f):
    t, a = f.t, f.a
    shutil.rmtree(a.at("/etc/systemd/system/sekisho-drain.service.d"))  # these are of the test
    os.unlink(f.m.at("/etc/sekisho/region.pem"))
    t.check("purge: before it there are blocks", a.elements(), a.elements())
    done = a.sh("apt-get", "-q", "-y", "purge", "sekisho", "sekisho-rules")
    t.check("purge: works", done.returncode == 0, done.stderr[-600:])
    t.check("purge: nobody is blocked", a.elements() is None, a.elements())
    t.check("purge: who was blocked is served", f.bed.get("attacker", a) == 200)
    left_of(t, a, f.plain, ("sekisho", "sekisho-drain"))
    t.check("purge: the users stay, so that their numbers do not come to mean somebody else", all(
        a.sh("getent", "passwd", u).returncode == 0 for u in ("sekisho", "sekisho-report")))
    done = f.m.sh("apt-get", "-q", "-y", "purge", "sekisho-manager")
    t.check("purge: the manager's too", done.returncode == 0, done.stderr[-600:])
    left_of(t, f.m, f.plain, ("sekisho-manager",))


def left_of(t, host, plain, units):
    """plain: its files of before."""
    libraries = set(host.sh("dpkg-query", "-L", *host.sh("dpkg-query", "-W", "-f", "${Package}:${Architecture} ").stdout.split()
                            ).stdout.splitlines())
    more = sorted(x for x in host.files() - plain if not STAYS.search(x) and x not in libraries and "sekisho" in x)
    t.check(f"purge: {host.name} has no file of it left", more == [], more)
    loaded = [u for u in units if host.show(u, "LoadState") != "not-found"]
    t.check(f"purge: {host.name} has no unit of it left", loaded == [], loaded)
    processes = host.sh("sh", "-c", "grep -l sekisho /proc/[0-9]*/comm || true").stdout
    t.check(f"purge: {host.name} has no process of it left", processes == "", processes)


def test(bed, t):
    f = Fleet(bed, t)
    for step in (manager, instances, attack, upgrade, end_of_instance, purge):
        began = time.monotonic()
        step(f)
        print(f"     {step.__name__}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(hosts.run("package-system", __file__, argparse.ArgumentParser(description=__doc__), test))
