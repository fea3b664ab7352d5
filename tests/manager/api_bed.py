"""A server of the manager's API in a folder of its own, and agents and operators that speak to it."""
import base64
import datetime
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import pkcs7
    from cryptography.x509.oid import NameOID
except ImportError:
    x509 = None


class Tally:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0

    def check(self, what, ok, detail=""):
        self.passed += bool(ok)
        self.failed += not ok
        print(("ok   " if ok else "FAIL ") + what + ("" if ok else f": {str(detail)[:600]}"), flush=True)
        return bool(ok)

    def skip(self, what, why):
        self.skipped += 1
        print(f"SKIP {what}: {why}", flush=True)

    def end(self):
        print(f"{self.name}: {self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        try:
            self.json = json.loads(body) if body else None
        except ValueError:
            self.json = None

    @property
    def code(self):
        """Of the error, or None."""
        return (self.json or {}).get("error", {}).get("code") if isinstance(self.json, dict) else None

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Client:
    """HTTPS with or without a certificate; one connection, made again when it was closed."""

    def __init__(self, server, cert=None, key=None):
        self.server, self.cert, self.key, self.conn = server, cert, key, None

    def context(self):
        c = ssl.create_default_context(cafile=self.server.ca)
        if self.cert:
            c.load_cert_chain(self.cert, self.key)
        return c

    def raw(self):
        """A socket over TLS, for bytes that no HTTP library would send."""
        s = socket.create_connection(("127.0.0.1", self.server.port), timeout=20)
        return self.context().wrap_socket(s, server_hostname="localhost")

    def close(self):
        if self.conn:
            self.conn.close()
        self.conn = None

    def once(self, method, path, body, headers):
        if not self.conn:
            self.conn = http.client.HTTPSConnection("localhost", self.server.port, context=self.context(), timeout=90)
        self.conn.request(method, path, body, headers)
        r = self.conn.getresponse()
        answer = Answer(r.status, r.headers, r.read())
        if r.will_close:
            self.close()
        return answer

    def request(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            return self.once(method, path, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            self.close()
            return self.once(method, path, body, headers)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body, **kw):
        return self.request("POST", path, body, **kw)


class Operator(Client):
    def __init__(self, server, token):
        super().__init__(server)
        self.token = token

    def request(self, method, path, body=None, headers=None):
        return super().request(method, path, body, {"Authorization": f"Bearer {self.token}", **(headers or {})})


class Agent(Client):
    def __init__(self, server, directory, name):
        super().__init__(server)
        self.name, self.id, self.seq, self.spool = name, None, 0, name
        self.key = os.path.join(directory, name + ".key")
        self.path = os.path.join(directory, name + ".pem")
        self.private = make_key(self.key)

    def take(self, pem):
        with open(self.path, "w") as f:
            f.write(pem)
        self.cert = self.path
        self.close()

    def enroll(self, token, **more):
        body = {"token": token, "csr": make_csr(self.private), "host": self.name, "version": "0.1.0", **more}
        self.cert = None
        self.close()
        a = self.post("/v1/enroll", body)
        if a.status == 201:
            self.id = a.json["agent"]
            self.take(a.json["certificate"])
        return a

    def batch(self, *items):
        self.seq += 1
        return self.post("/v1/events", {"spool": self.spool, "seq": self.seq, "items": list(items)})


def make_key(path):
    key = ec.generate_private_key(ec.SECP256R1())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()))
    return key


def make_csr(key, name="whatever"):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


class Region:
    """Who signs identity documents, as AWS does in each of its regions."""

    def __init__(self, name="eu-west-1"):
        self.name, self.key = name, rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test of " + name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        self.cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
                     .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
                     .not_valid_before(now - datetime.timedelta(days=1))
                     .not_valid_after(now + datetime.timedelta(days=30)).sign(self.key, hashes.SHA256()))

    def pem(self):
        return f"# region: {self.name}\n" + self.cert.public_bytes(serialization.Encoding.PEM).decode()

    def document(self, instance, age=10, embed=False, signer=None, **more):
        pending = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
        text = json.dumps({"accountId": "123456789012", "architecture": "x86_64", "availabilityZone": self.name + "a",
                           "imageId": "ami-0123456789abcdef0", "instanceId": instance, "instanceType": "t3.micro",
                           "pendingTime": pending.strftime("%Y-%m-%dT%H:%M:%SZ"), "privateIp": "10.0.0.5",
                           "region": self.name, "version": "2017-09-30", **more}, indent=2)
        by = signer or self
        options = [pkcs7.PKCS7Options.Binary] + ([] if embed else [pkcs7.PKCS7Options.NoCerts])
        der = (pkcs7.PKCS7SignatureBuilder().set_data(text.encode()).add_signer(by.cert, by.key, hashes.SHA256())
               .sign(serialization.Encoding.DER, options))
        return base64.encodebytes(der).decode()


def block(number, target, seconds=3600, **more):
    now = int(time.time() * 1000)
    return {"type": "block", "id": f"B{number}", "target": target, "created_ms": now,
            "expires_ms": now + seconds * 1000, "origin": "rule", "cause": "score", "sid": 1000001, "gid": 1,
            "score": 100, "repeat": 0, "reason": "test", **more}


def event(kind="alert", **more):
    return {"type": "event", "time_ms": int(time.time() * 1000),
            "event": {"event_type": kind, "src_ip": "203.0.113.9", **more}}


class Server:
    """tests/unit/api/api_server in a new folder."""

    def __init__(self, program, *args, regions=()):
        self.program, self.args = program, args
        self.dir = tempfile.mkdtemp(prefix="sekisho-api-")
        if regions:
            path = os.path.join(self.dir, "regions.pem")
            with open(path, "w") as f:
                f.write("".join(r.pem() for r in regions))
            self.args += ("-i", path)
        self.ca = os.path.join(self.dir, "ca", "ca.pem")
        self.agents = 0
        self.start()

    def start(self):
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.process = subprocess.Popen([self.program, "-d", self.dir, *self.args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        first = json.loads(self.process.stdout.readline() or "{}")
        if not first:
            raise RuntimeError("the server does not start: " + self.read_log()[-500:])
        self.port, self.token = first["port"], first["token"]
        self.operator = Operator(self, self.token)

    def stop(self):
        """True when it ended well."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            return self.process.wait(30) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        finally:
            self.log.close()

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def status(self):
        return self.ask("status")

    def read_log(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()

    def anybody(self):
        return Client(self)

    def token_for(self, kind="enrol", **more):
        return self.operator.post("/v1/operator/tokens", {"kind": kind, **more}).json

    def agent(self, name=None, **more):
        self.agents += 1
        a = Agent(self, self.dir, name or f"host-{self.agents}")
        answer = a.enroll(self.token_for()["secret"], **more)
        if answer.status != 201:
            raise RuntimeError(f"enrolment: {answer}")
        return a

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind and os.environ.get("SEKISHO_TEST_LOG"):
            print(self.read_log()[-8000:], file=sys.stderr)
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def need_cryptography(name):
    """Ends the test with a SKIP where the virtual environment is not there."""
    if x509 is None:
        t = Tally(name)
        t.skip(name, "python's cryptography is missing: build/venv is not there")
        sys.exit(t.end())
