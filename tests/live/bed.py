"""A server with nginx and the agent, and two clients, each in a network namespace of its own; gone at the end.

    attacker 10.77.1.2, fd77:1::2 ----- 10.77.1.1, fd77:1::1 \\
                                                              server (nginx on port 80; the agent)
    visitor  10.77.2.2, fd77:2::2 ----- 10.77.2.1, fd77:2::1 /

Used as `with Bed(agent) as bed:`; Tally counts what was found and prints the line that ./dev reads.
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ATTACKER, VISITOR, SERVER_A, SERVER_V = "10.77.1.2", "10.77.2.2", "10.77.1.1", "10.77.2.1"
ATTACK = "/index.html?id=1%20UNION%20SELECT%201"

os.environ["PATH"] += ":/usr/sbin:/sbin"


class Tally:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0

    def check(self, what, ok, detail=""):
        if ok:
            self.passed += 1
            print(f"ok   {what}")
        else:
            self.failed += 1
            print(f"FAIL {what}{': ' + str(detail) if detail != '' else ''}")
        sys.stdout.flush()
        return bool(ok)

    def skip(self, what, why):
        self.skipped += 1
        print(f"{what}: SKIP: {why}")

    def end(self):
        print(f"{self.name}: {self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


def wait_until(test, seconds=5.0, step=0.05):
    """Waits for test() to be true; returns how long it took, or None."""
    began = time.monotonic()
    while True:
        if test():
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            return None
        time.sleep(step)


class Bed:
    def __init__(self, agent, rules=None, keep_on_stop=True, extra=""):
        self.agent, self.prefix = os.path.abspath(agent), f"skb{os.getpid()}"
        self.dir = tempfile.mkdtemp(prefix="sekisho-live-")
        os.chmod(self.dir, 0o755)
        self.server, self.attacker, self.visitor = self.spaces = [self.prefix + x for x in "sav"]
        self.process, self.nginx_pid = None, None
        self.inside = []  # words before the agent's own: a mount namespace, for instance
        self.socket, self.eve_path = self.path("control.sock"), self.path("log/eve.json")
        self.rules = self.path("test.rules")
        with open(self.rules, "w", encoding="utf-8") as f:
            f.write(rules or open(os.path.join(ROOT, "rules/sekisho-starter.rules"), encoding="utf-8").read())
        os.mkdir(self.path("log"))
        os.chmod(self.path("log"), 0o777)
        os.mkdir(self.path("state"))
        self.conf = self.path("sekisho.yaml")
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(f"rule-files: [{self.rules}]\n"
                    "guard:\n"
                    f"  control-socket: {self.socket}\n  state-dir: {self.path('state')}\n"
                    f"  user: nobody\n  reporter-user: daemon\n  keep-blocks-on-stop: {'yes' if keep_on_stop else 'no'}\n"
                    f"outputs:\n  eve:\n    path: {self.eve_path}\nstats:\n  interval: 1s\ncapture:\n  ring-size: 16mb\n"
                    + extra)

    def path(self, name):
        return os.path.join(self.dir, name)

    # --- namespaces and commands in them ---

    def sh(self, where, *cmd, check=False, timeout=30):
        words = (["ip", "netns", "exec", where] if where else []) + list(cmd)
        return subprocess.run(words, capture_output=True, text=True, errors="replace", check=check, timeout=timeout)

    def must(self, *cmd):
        done = self.sh(None, *cmd)
        if done.returncode:
            raise RuntimeError(f"{' '.join(cmd)}: {done.stderr.strip()}")

    def link(self, client, index):
        outer, inner = f"{self.prefix}p{index}", f"eth{index}"
        self.must("ip", "link", "add", outer, "netns", self.server, "type", "veth", "peer", "name", "eth0", "netns", client)
        self.must("ip", "-n", self.server, "link", "set", outer, "name", inner)
        for ns, dev, last in ((self.server, inner, 1), (client, "eth0", 2)):
            self.must("ip", "-n", ns, "addr", "add", f"10.77.{index}.{last}/24", "dev", dev)
            self.must("ip", "-n", ns, "addr", "add", f"fd77:{index}::{last}/64", "dev", dev, "nodad")
            self.must("ip", "-n", ns, "link", "set", dev, "up")
            self.must("ip", "-n", ns, "link", "set", "lo", "up")

    def __enter__(self):
        # A test that is told to end (a time limit, Ctrl-C) clears away too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            for ns in self.spaces:
                self.must("ip", "netns", "add", ns)
            self.build()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def build(self):
        self.link(self.attacker, 1)
        self.link(self.visitor, 2)
        self.start_nginx()

    def start_nginx(self):
        www = self.path("www")
        os.mkdir(www)
        with open(os.path.join(www, "index.html"), "w", encoding="utf-8") as f:
            f.write("<html><body>Hello from behind the gate.</body></html>\n")
        with open(os.path.join(www, "slow.bin"), "wb") as f:
            f.write(b"x" * 4000000)
        with open(self.path("nginx.conf"), "w", encoding="utf-8") as f:
            f.write(f"worker_processes 1; pid {self.path('nginx.pid')}; error_log {self.path('nginx.log')};\n"
                    "user root; events { worker_connections 1024; }\n"
                    "http { access_log off; keepalive_requests 1000000; client_body_temp_path /tmp;\n"
                    f"server {{ listen 80; listen [::]:80; root {www}; location /slow.bin {{ limit_rate 200k; }} }} }}\n")
        done = self.sh(self.server, "nginx", "-c", self.path("nginx.conf"), "-e", self.path("nginx.log"))
        if done.returncode or wait_until(lambda: os.path.exists(self.path("nginx.pid"))) is None:
            raise RuntimeError("nginx does not start: " + done.stderr)
        self.nginx_pid = int(open(self.path("nginx.pid"), encoding="ascii").read())

    def __exit__(self, *_):
        self.stop_agent(kill=True)
        if self.nginx_pid:
            try:
                os.kill(self.nginx_pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        for ns in self.spaces:
            pids = self.sh(None, "ip", "netns", "pids", ns).stdout.split()
            wait_until(lambda n=ns: not self.sh(None, "ip", "netns", "pids", n).stdout.split(), 2)
            for pid in self.sh(None, "ip", "netns", "pids", ns).stdout.split():
                if pid in pids:  # ours: they run in a namespace that we made
                    os.kill(int(pid), signal.SIGKILL)
            self.sh(None, "ip", "netns", "del", ns)
        if os.environ.get("SEKISHO_KEEP"):
            print(f"kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def left_behind(self):
        """What is still there after the end: namespaces and processes of ours."""
        left = [n for n in self.sh(None, "ip", "netns", "list").stdout.split() if n in self.spaces]
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                if self.dir.encode() in open(path, "rb").read():
                    left.append(path)
            except OSError:
                pass
        return left

    # --- the agent ---

    def start_agent(self, *args, wait=30):
        self.log = open(self.path("agent.log"), "ab")
        self.process = subprocess.Popen(["ip", "netns", "exec", self.server, *self.inside, self.agent, "run", "-c", self.conf,
                                         *args],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        return wait_until(lambda: self.process.poll() is not None or self.ready(), wait) is not None and self.ready()

    def ready(self):
        roles = (self.status() or {}).get("roles", [])
        return len(roles) >= 3 and all(r["state"] == "working" for r in roles)

    def stop_agent(self, kill=False):
        """SIGTERM and its exit code; with kill, SIGKILL after five seconds."""
        if not self.process:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                if not kill:
                    return None
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)
        code, self.process = self.process.returncode, None
        self.log.close()
        return code

    def role(self, name):
        """What status says of a role: pid, restarts, state."""
        return next((r for r in (self.status() or {}).get("roles", []) if r["name"] == name), {"pid": 0, "state": ""})

    def ctl(self, verb, *args, timeout=30):
        return self.sh(None, self.agent, verb, *args, "--socket", self.socket, timeout=timeout)

    def status(self):
        done = self.ctl("status", "--json")
        try:
            return json.loads(done.stdout) if done.returncode == 0 else None
        except json.JSONDecodeError:
            return None

    def blocks(self):
        done = self.ctl("blocks", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else []

    def counter(self, name):
        return (self.status() or {}).get("counters", {}).get(name)

    def agent_log(self):
        return open(self.path("agent.log"), encoding="utf-8", errors="replace").read()

    # --- what can be seen from outside ---

    def wait_blocked(self, address, seconds=3):
        return wait_until(lambda: address in (self.elements() or {}), seconds)

    def fetch(self, where, url, seconds=2, v6=False):
        """HTTP status of a request from a namespace, or None when there is no answer."""
        base = (f"http://[fd77:{1 if where == self.attacker else 2}::1]" if v6 else
                f"http://{SERVER_A if where == self.attacker else SERVER_V}")
        done = self.sh(where, "curl", "-s", "-g", "-o", "/dev/null", "-w", "%{http_code}", "--connect-timeout", str(seconds),
                       "-m", str(seconds + 1), base + url)
        return int(done.stdout) if done.returncode == 0 else None

    def eve(self, kind=None):
        out = []
        if os.path.exists(self.eve_path):
            for line in open(self.eve_path, encoding="utf-8"):
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue  # being written
                if kind is None or record["event_type"] == kind:
                    out.append(record)
        return out

    def elements(self):
        """{address: seconds left} of the sets of table inet sekisho; None without the table."""
        done = self.sh(self.server, "nft", "-j", "list", "table", "inet", "sekisho")
        if done.returncode:
            return None
        out = {}
        for item in json.loads(done.stdout)["nftables"]:
            for e in item.get("set", {}).get("elem", []):
                body = e.get("elem", e) if isinstance(e, dict) else {"val": e}
                value = body.get("val", body)
                if isinstance(value, dict):
                    prefix = value.get("prefix")
                    value = f"{prefix['addr']}/{prefix['len']}" if prefix else json.dumps(value)
                out[value] = body.get("expires", 0)
        return out
