"""Managers, simulated agents, PostgreSQL and moto for tests, each in a temporary folder, on loopback or in a network
namespace; gone at the end.

    with Manager(path) as m:
        m.init(); m.start()
        a = Host(m, m.token())
        a.post("/v1/heartbeat", {...})
"""
import base64
import glob
import http.client
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# The other bed, of a single agent: it has this file's name.
_spec = importlib.util.spec_from_file_location("live_bed", os.path.join(ROOT, "tests/live/bed.py"))
live_bed = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(live_bed)
Tally, wait_until = live_bed.Tally, live_bed.wait_until

os.environ["PATH"] += ":/usr/sbin:/sbin"
REGION = "eu-west-1"


def find_venv():
    """bin folder of the environment that this runs in, that SEKISHO_VENV names, or that ./dev test makes; None."""
    for d in (sys.prefix, os.environ.get("SEKISHO_VENV"), os.path.join(ROOT, "build/venv")):
        if d and os.path.exists(os.path.join(d, "bin/moto_server")):
            return os.path.join(d, "bin")
    return None


def venv_tool(name):
    d = find_venv()
    return os.path.join(d, name) if d and os.path.exists(os.path.join(d, name)) else None


def free_port(address="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as s:
        s.bind((address, 0))
        return s.getsockname()[1]


def percentile(values, p):
    """Nearest rank: the smallest value that p percent of them do not exceed."""
    values = sorted(values)
    return values[max(0, math.ceil(len(values) * p / 100) - 1)] if values else float("nan")


class Running:
    """A process in a namespace (or none), that ends with the test."""

    def __init__(self, words, log, netns=None, env=None, user=None):
        self.log_path = log
        inside = ["ip", "netns", "exec", netns] if netns else []
        if user:
            inside += ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
        self.log = open(log, "ab")
        self.process = subprocess.Popen(inside + words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=env, start_new_session=True)

    def alive(self):
        return self.process.poll() is None

    def stop(self, how=signal.SIGTERM, seconds=15):
        """Its exit code; -9 when it had to be killed."""
        if self.alive():
            self.process.send_signal(how)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)
        if not self.log.closed:
            self.log.close()
        return self.process.returncode

    def text(self):
        return open(self.log_path, encoding="utf-8", errors="replace").read()


class Folder:
    def __init__(self, prefix):
        self.dir = tempfile.mkdtemp(prefix=prefix)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def path(self, name):
        return os.path.join(self.dir, name)

    def remove(self):
        if os.environ.get("SEKISHO_KEEP"):
            print(f"kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


class Manager(Folder):
    """sekisho-manager with a configuration and a state folder of its own."""

    def __init__(self, program, address="127.0.0.1", names=None, netns=None, store=None, settings="", env=None, port=None,
                 state_from=None):
        super().__init__("sekisho-manager-")
        self.program, self.address, self.netns = os.path.abspath(program), address, netns
        self.port = port or free_port("127.0.0.1")
        self.env = dict(os.environ, **(env or {}))
        self.running = None
        self.conf, self.state = self.path("manager.yaml"), self.path("state")
        host = f"[{address}]" if ":" in address else address
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(f"listen: \"{host}:{self.port}\"\nstate-dir: {self.state}\n"
                    f"names: {json.dumps(names or [address, 'localhost'])}\n"
                    + (f"store: {json.dumps(store)}\n" if store else "") + settings)
        if state_from:  # another manager of the same fleet: CA and signing key are shared
            os.mkdir(self.state, 0o700)
            for name in ("ca", "signing.key", "signing.pub"):
                source = os.path.join(state_from, name)
                if os.path.isdir(source):
                    shutil.copytree(source, os.path.join(self.state, name))
                else:
                    shutil.copy2(source, self.state)
            os.chmod(os.path.join(self.state, "ca"), 0o700)
        self.url = f"https://{host}:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.remove()

    # --- the command line ---

    def run(self, *words, stdin=None, timeout=60):
        return subprocess.run([self.program, *words, "-c", self.conf], capture_output=True, text=True, errors="replace",
                              input=stdin, env=self.env, timeout=timeout, check=False)

    def must(self, *words):
        done = self.run(*words)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def json(self, *words):
        return json.loads(self.must(*words, "--json"))

    def init(self):
        self.must("init")
        return self

    def token(self, *words):
        return self.must("token", "create", *words).strip()

    @property
    def ca_file(self):
        return os.path.join(self.state, "ca/ca.pem")

    def fingerprint(self):
        return re.search(r"fingerprint \(SHA-256\) +(\S+)", self.must("ca", "show")).group(1)

    # --- the daemon ---

    def start(self, wait=20):
        self.running = Running([self.program, "run", "-c", self.conf], self.path("run.log"), self.netns, self.env)
        if wait_until(lambda: not self.running.alive() or self.serving(), wait) is None or not self.running.alive():
            raise RuntimeError("the manager does not start:\n" + self.log())
        return self

    def serving(self):
        return f"port {self.port}" in self.log().rsplit("has stopped", 1)[-1]

    def stop(self, how=signal.SIGTERM):
        if not self.running:
            return None
        code, self.running = self.running.stop(how), None
        return code

    def kill(self):
        return self.stop(signal.SIGKILL)

    def restart(self):
        self.stop()
        with open(self.path("run.log"), "ab") as f:
            f.write(b"has stopped\n")  # also after a kill: serving() looks behind it
        return self.start()

    def cpu_s(self):
        """What it has taken of processors since its start."""
        words = open(f"/proc/{self.running.process.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def log(self):
        path = self.path("run.log")
        return open(path, encoding="utf-8", errors="replace").read() if os.path.exists(path) else ""

    # --- HTTPS ---

    def context(self, cert=None, key=None):
        c = ssl.create_default_context(cafile=self.ca_file)
        if cert:
            c.load_cert_chain(cert, key)
        return c

    def call(self, method, path, body=None, headers=None, cert=None, key=None, timeout=20):
        """(status, JSON or text or None, headers)"""
        conn = http.client.HTTPSConnection(self.address, self.port, timeout=timeout, context=self.context(cert, key))
        try:
            data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            conn.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            r = conn.getresponse()
            text = r.read()
            try:
                value = json.loads(text) if text else None
            except ValueError:
                value = text.decode(errors="replace")
            return r.status, value, dict(r.getheaders())
        finally:
            conn.close()

    def operator(self, method, path, token, body=None):
        return self.call(method, "/v1/operator" + path, body, {"Authorization": "Bearer " + token})


def make_request(folder, name):
    """Key and certificate request by openssl: (key file, request)."""
    key = os.path.join(folder, name + ".key")
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True,
                   capture_output=True)
    os.chmod(key, 0o600)
    done = subprocess.run(["openssl", "req", "-new", "-key", key, "-subj", "/CN=" + name], check=True, capture_output=True,
                          text=True)
    return key, done.stdout


class Host:
    """A simulated agent: enrols, and speaks with its certificate over a connection that it keeps."""

    def __init__(self, manager, token, host="host-1", tags=None):
        self.manager, self.host, self.seq, self.spool = manager, host, 0, "spool-" + os.urandom(6).hex()
        self.key, csr = make_request(manager.dir, f"{host}-{os.urandom(3).hex()}")
        body = {"token": token, "csr": csr, "host": host, "version": "0.1.0"}
        if tags:
            body["tags"] = tags
        status, answer, _ = manager.call("POST", "/v1/enroll", body)
        if status != 201:
            raise RuntimeError(f"enrolment: {status} {answer}")
        self.id, self.answer = answer["agent"], answer
        self.cert = self.key[:-4] + ".pem"
        with open(self.cert, "w", encoding="ascii") as f:
            f.write(answer["certificate"])
        self.conn = None

    def call(self, method, path, body=None, timeout=70, port=None):
        data = None if body is None else json.dumps(body).encode()
        for attempt in (1, 2):
            fresh = self.conn is None
            if fresh:
                self.conn = http.client.HTTPSConnection(self.manager.address, port or self.manager.port, timeout=timeout,
                                                        context=self.manager.context(self.cert, self.key))
            try:
                self.conn.request(method, path, data, {"Content-Type": "application/json"})
                r = self.conn.getresponse()
                text = r.read()
                return r.status, json.loads(text) if text else None
            except (http.client.HTTPException, OSError):
                self.close()
                if fresh or attempt == 2:
                    raise
        return None

    def close(self):
        if self.conn:
            self.conn.close()
        self.conn = None

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body, **more):
        return self.call("POST", path, body, **more)

    def send(self, items):
        """One batch; its answer."""
        self.seq += 1
        return self.post("/v1/events", {"spool": self.spool, "seq": self.seq, "items": items})

    def block(self, target, seconds=60, ident=None, reason="test"):
        now = int(time.time() * 1000)
        return {"type": "block", "id": ident or "b" + os.urandom(6).hex(), "target": target, "created_ms": now,
                "expires_ms": now + int(seconds * 1000), "origin": "rule", "cause": "alert", "sid": 1, "gid": 1, "score": 0,
                "repeat": 0, "reason": reason}


class Moto(Folder):
    """AWS by moto, which checks signatures: its own user's keys are in `env`."""

    def __init__(self, address="127.0.0.1", netns=None):
        super().__init__("sekisho-moto-")
        self.server, self.address, self.netns = venv_tool("moto_server"), address, netns
        self.port, self.running = free_port(), None
        self.endpoint = f"http://{address}:{self.port}"
        self.env = {"AWS_ACCESS_KEY_ID": "AKIAFIRST", "AWS_SECRET_ACCESS_KEY": "first", "AWS_DEFAULT_REGION": REGION,
                    "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": ""}

    def __enter__(self):
        self.running = Running([self.server, "-H", self.address, "-p", str(self.port)], self.path("moto.log"), self.netns,
                               dict(os.environ, INITIAL_NO_AUTH_ACTION_COUNT="3"))
        if wait_until(self.answers, 40, 0.1) is None:
            raise RuntimeError("moto does not start:\n" + self.running.text())
        self.make_user()
        return self

    def __exit__(self, *_):
        if self.running:
            self.running.stop(signal.SIGKILL)
        self.remove()

    def inside(self, *words, env=None, timeout=60):
        lead = ["ip", "netns", "exec", self.netns] if self.netns else []
        return subprocess.run([*lead, *words], capture_output=True, text=True, timeout=timeout, check=False,
                              env=dict(os.environ, **(env or self.env)))

    def answers(self):
        return self.inside("curl", "-s", "-o", "/dev/null", self.endpoint + "/moto-api/").returncode == 0

    def aws(self, *words):
        """awscli's answer, as JSON."""
        done = self.inside(venv_tool("aws"), "--endpoint-url", self.endpoint, "--output", "json", *words)
        if done.returncode:
            raise RuntimeError(f"aws {' '.join(words)}: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def make_user(self):
        """The three calls that are free of checks; from here on each must be signed by this user."""
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        self.aws("iam", "create-user", "--user-name", "sekisho")
        key = self.aws("iam", "create-access-key", "--user-name", "sekisho")["AccessKey"]
        self.aws("iam", "put-user-policy", "--user-name", "sekisho", "--policy-name", "all", "--policy-document",
                 json.dumps(policy))
        self.env.update(AWS_ACCESS_KEY_ID=key["AccessKeyId"], AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"])

    def settings(self, more="", targets=None):
        """Configuration of a manager that writes here."""
        targets = targets or [{"region": REGION, "prefix": "sekisho", "create": True}]
        return (f"aws:\n  endpoint: {self.endpoint}\nwaf:\n  enabled: yes\n  targets: {json.dumps(targets)}\n" + more)


class IpSets:
    """What is in the IP sets, read by botocore: a judge that shares nothing with us."""

    def __init__(self, endpoint, env, scope="REGIONAL", region=REGION):
        import boto3  # pylint: disable=import-outside-toplevel
        self.scope = scope
        self.client = boto3.client("wafv2", region_name=region, endpoint_url=endpoint,
                                   aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
                                   aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"])
        self.ids = {}

    def addresses(self, name):
        if name not in self.ids:
            for s in self.client.list_ip_sets(Scope=self.scope, Limit=100)["IPSets"]:
                self.ids[s["Name"]] = s["Id"]
        if name not in self.ids:
            return None
        return set(self.client.get_ip_set(Name=name, Scope=self.scope, Id=self.ids[name])["IPSet"]["Addresses"])


class Postgres(Folder):
    """A database server of the test's own. durable: a commit is on the disk before it is answered."""

    def __init__(self, durable=False, core=None):
        super().__init__("sekisho-pg-")
        self.durable, self.core = durable, core
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
        self.bin = found[-1] if found else None
        self.port, self.running = free_port(), None
        self.user = "postgres" if os.geteuid() == 0 else None
        self.where = f"postgresql://sekisho@127.0.0.1:{self.port}/postgres"

    def __enter__(self):
        data = self.path("data")
        if self.user:
            shutil.chown(self.dir, self.user)
        lead = ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups"] if self.user else []
        subprocess.run([*lead, os.path.join(self.bin, "initdb"), "-D", data, "-U", "sekisho", "-A", "trust", "-E", "UTF8", "-N"],
                       check=True, capture_output=True, cwd=self.dir)
        own = ["taskset", "-c", str(self.core)] if self.core is not None else []
        self.running = Running([*own, os.path.join(self.bin, "postgres"), "-D", data, "-p", str(self.port), "-k", self.dir, "-h",
                                "127.0.0.1", "-c", f"fsync={'on' if self.durable else 'off'}"], self.path("pg.log"),
                               user=self.user)
        if wait_until(lambda: "ready to accept" in self.running.text(), 30) is None:
            raise RuntimeError("PostgreSQL does not start:\n" + self.running.text())
        return self

    def __exit__(self, *_):
        if self.running:
            self.running.stop(signal.SIGINT)
        self.remove()

    def rows(self, sql):
        """Of one statement, each as a list of texts."""
        done = subprocess.run([os.path.join(self.bin, "psql"), "-XAtq", "-F", "\t", "-d", self.where, "-c", sql], check=True,
                              capture_output=True, text=True)
        return [line.split("\t") for line in done.stdout.splitlines()]


def public_key(text):
    return base64.b64decode(text)
