"""The agents' part of the manager's API (docs/manager-api.yaml), strict about what it is sent, and as unreliable as a
test wants: FakeManager(folder). Speaks TLS on a loopback port with certificates of its own CA (openssl is called for
them)."""
import base64
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MS_MAX = 2**53 - 1


def openssl(*args, stdin=None):
    return subprocess.run(["openssl", *args], input=stdin, check=True, capture_output=True).stdout


class CA:
    """A CA, and certificates of servers and agents."""

    def __init__(self, folder, name="test CA"):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.key, self.pem = self.path("ca.key"), self.path("ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                "-out", self.pem, "-days", "30", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def path(self, name):
        return os.path.join(self.folder, name)

    def sign(self, csr, subject, extensions, start=None, end=None):
        with open(self.path("ext"), "w") as f:
            f.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n" + extensions)
        with open(self.path("csr"), "wb") as f:
            f.write(csr if isinstance(csr, bytes) else csr.encode())
        if not os.path.exists(self.path("index.txt")):
            open(self.path("index.txt"), "w").close()
            with open(self.path("ca.cnf"), "w") as f:
                f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.path('index.txt')}\nnew_certs_dir={self.folder}\n"
                        "rand_serial=yes\nunique_subject=no\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
        start, end = start or time.time() - 60, end or time.time() + 86400 * 30
        stamp = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(t)) for t in (start, end)]
        openssl("ca", "-batch", "-notext", "-config", self.path("ca.cnf"), "-cert", self.pem, "-keyfile", self.key,
                "-in", self.path("csr"), "-out", self.path("out"), "-subj", f"/CN={subject}", "-extfile",
                self.path("ext"), "-startdate", stamp[0], "-enddate", stamp[1])
        with open(self.path("out")) as f:
            return f.read()

    def request(self, key, subject):
        return openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                       "-subj", f"/CN={subject}")

    def server(self, names="DNS:localhost,IP:127.0.0.1"):
        key, cert = self.path("server.key"), self.path("server.pem")
        pem = self.sign(self.request(key, "server"), "server", f"extendedKeyUsage=serverAuth\nsubjectAltName={names}\n")
        with open(cert, "w") as f, open(self.pem) as ca:
            f.write(pem + ca.read())
        return cert, key

    def agent(self, csr, agent, start=None, end=None):
        return self.sign(csr, agent, "extendedKeyUsage=clientAuth\n", start, end)

    def text(self):
        with open(self.pem) as f:
            return f.read()


AGENT = "A" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:26]


def make_agent_folder(ca, folder, url, agent=AGENT, start=None, end=None):
    """What `sekisho enroll` leaves behind."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    key = os.path.join(folder, "key.pem")
    csr = ca.request(key, agent)
    os.chmod(key, 0o600)
    for name, text in (("cert.pem", ca.agent(csr, agent, start, end)), ("ca.pem", ca.text()),
                       ("agent.json", json.dumps({"manager": url, "agent": agent, "heartbeat_s": 1}))):
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)


class Wrong(Exception):
    """The request is not what the API's description says."""


def need(ok, what):
    if not ok:
        raise Wrong(what)


def is_int(v, low=0, high=MS_MAX):
    return isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def check_item(i):
    need(isinstance(i, dict), "item")
    kind = i.get("type")
    if kind == "event":
        need(set(i) == {"type", "time_ms", "event"} and is_int(i["time_ms"]), "event")
        need(re.fullmatch("[a-z][a-z0-9_-]{0,14}", i["event"]["event_type"]), "event_type")
        for name in ("payload", "packet", "payload_printable"):
            need(name not in i["event"], name)
    elif kind == "block":
        need(re.fullmatch("[A-Za-z0-9_.:-]{1,23}", i["id"]) and is_int(i["created_ms"]) and is_int(i["expires_ms"]),
             "block")
        need(i["origin"] in ("rule", "operator", "kernel") and re.fullmatch("[a-z0-9_-]{0,15}", i["cause"]), "origin")
        need(all(is_int(i[k], 0, 2**32 - 1) for k in ("sid", "gid", "score", "repeat")), "numbers")
        need(len(i["reason"].encode()) <= 511 and not re.search("[\x00-\x1f\x7f-\x9f]", i["reason"]), "reason")
    elif kind == "end":
        need(set(i) == {"type", "id", "ended_ms", "why"} and is_int(i["ended_ms"]), "end")
        need(re.fullmatch("[a-z0-9_-]{1,31}", i["why"]), "why")
    else:
        raise Wrong(f"type {kind}")


class FakeManager:
    """Knobs: fail(path, status) answers so; garbage, reset, slow (seconds), revoked, lose_answers (takes batches and
    answers none), truncate, clock_offset (seconds, of its Date header)."""

    def __init__(self, folder, port=0, ca=None):
        self.ca = ca or CA(os.path.join(folder, "ca"))
        self.server_cert = self.ca.server()
        self.lock = threading.Condition()
        self.port = port
        self.httpd = None
        self.wrong, self.items, self.requests = [], [], []
        self.spools, self.duplicates, self.batches, self.largest = {}, 0, 0, 0
        self.refuse_item = lambda item: False
        self.failing, self.retry_after = {}, None
        self.garbage = self.reset = self.revoked = self.lose_answers = self.truncate = False
        self.slow = self.clock_offset = 0
        self.revoked_code = (403, "agent_revoked")
        self.epoch, self.seq, self.entries, self.log, self.page = "epoch-1", 0, {}, [], 1000
        self.beats, self.polls, self.open = [], 0, set()
        self.versions = {"rules": 0, "policy": 0}
        self.bundles, self.renew, self.lifetime, self.renewals = {}, False, 86400 * 30, 0
        self.heartbeat_s = 1
        self.places = {}
        self.tokens, self.enrolled, self.identity, self.lose_enrolments = {}, [], False, 0
        self.serials = {}

    # --- life ---

    def start(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 90

            def log_message(self, *args):
                pass

            def date_time_string(self, timestamp=None):
                return super().date_time_string((timestamp or time.time()) + fake.clock_offset)

            def do_GET(self):
                fake.answer(self, b"")

            def do_POST(self):
                fake.answer(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64
            allow_reuse_address = True

            def finish_request(self, request, address):
                context = fake.context()
                request.settimeout(20)
                try:
                    request = context.wrap_socket(request, server_side=True)
                except (OSError, ssl.SSLError):
                    return
                with fake.lock:
                    fake.open.add(request)
                try:
                    super().finish_request(request, address)
                except (OSError, ssl.SSLError):
                    pass
                finally:
                    with fake.lock:
                        fake.open.discard(request)
                    try:
                        request.close()
                    except OSError:
                        pass

            def handle_error(self, request, address):
                pass

        self.httpd = Server(("127.0.0.1", self.port), Handler)
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        if self.httpd is None:
            return
        self.httpd.shutdown()
        self.httpd.server_close()
        self.httpd = None
        with self.lock:
            for s in self.open:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.lock.notify_all()

    def context(self):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.minimum_version = ssl.TLSVersion.TLSv1_2
        c.load_cert_chain(*self.server_cert)
        c.load_verify_locations(self.ca.pem)
        c.verify_mode = ssl.CERT_OPTIONAL
        return c

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    # --- requests ---

    def answer(self, h, body):
        path = urlsplit(h.path)
        with self.lock:
            self.requests.append((time.monotonic(), h.command, h.path))
            slow, broken = self.slow, self.reset
            failing = self.failing.get(path.path)
        time.sleep(slow)
        if broken:
            self.break_off(h)
            return
        if failing:
            self.send(h, failing, {"error": {"code": "busy", "message": "test"}})
            return
        if self.garbage:
            self.send(h, 200, None, b"\x00\xff{not json" * 100)
            return
        try:
            status, value = self.route(h, path, body)
        except (Wrong, KeyError, ValueError, TypeError) as e:
            with self.lock:
                self.wrong.append(f"{h.command} {h.path}: {e!r}")
            status, value = 400, {"error": {"code": "bad_field", "message": "test"}}
        if path.path == "/v1/enroll" and self.lose_enrolments > 0:
            self.lose_enrolments -= 1
            self.break_off(h)
            return
        if self.lose_answers and path.path == "/v1/events":
            self.break_off(h)
            return
        self.send(h, status, value)

    def break_off(self, h):
        """With a RST."""
        h.close_connection = True
        try:
            h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.close(h.connection)
        except OSError:
            pass

    def send(self, h, status, value, raw=None):
        text = raw if raw is not None else json.dumps(value).encode()
        try:
            h.send_response(status)
            h.send_header("Content-Type", "application/json")
            h.send_header("Content-Length", str(len(text) + (100 if self.truncate else 0)))
            if status in (429, 503) and self.retry_after is not None:
                h.send_header("Retry-After", str(self.retry_after))
            h.end_headers()
            h.wfile.write(text)
            if self.truncate:
                h.close_connection = True
        except (OSError, ssl.SSLError):
            pass

    def who(self, h):
        cert = h.connection.getpeercert()
        if not cert:
            return None, None
        return dict(x[0] for x in cert["subject"])["commonName"], cert["serialNumber"]

    def route(self, h, path, body):
        if h.command == "POST":
            need(h.headers.get("Content-Type") == "application/json", "Content-Type")
        if (h.command, path.path) == ("GET", "/healthz"):
            return 200, {"ok": True}
        if path.path == "/v1/enroll":
            return self.enroll(json.loads(body))
        agent, serial = self.who(h)
        if agent is None:
            return 401, {"error": {"code": "certificate_required", "message": "test"}}
        if self.revoked:
            return self.revoked_code[0], {"error": {"code": self.revoked_code[1], "message": "test"}}
        with self.lock:
            old, new = self.serials.get(agent, (None, None))
            if new is not None and serial == new:
                self.serials[agent] = (new, new)
            elif new is not None and serial != old:
                return 403, {"error": {"code": "certificate_replaced", "message": "test"}}
        query = {k: v[0] for k, v in parse_qs(path.query).items()}
        if (h.command, path.path) == ("POST", "/v1/events"):
            return self.events(json.loads(body), len(body))
        if (h.command, path.path) == ("POST", "/v1/heartbeat"):
            return self.heartbeat(json.loads(body))
        if (h.command, path.path) == ("GET", "/v1/feed"):
            return self.feed(query)
        if (h.command, path.path) == ("POST", "/v1/renew"):
            return self.do_renew(json.loads(body), agent, serial)
        if h.command == "GET" and path.path in ("/v1/bundles/rules", "/v1/bundles/policy"):
            kind = path.path.rsplit("/", 1)[1]
            b = self.bundles.get(kind)
            return (200, b) if b else (404, {"error": {"code": "not_found", "message": "test"}})
        if (h.command, path.path) == ("GET", "/v1/entry"):
            e = self.places.get(query["target"])
            return (200, e) if e else (404, {"error": {"code": "not_found", "message": "test"}})
        raise Wrong("no such path")

    def events(self, b, size):
        need(re.fullmatch("[A-Za-z0-9_-]{1,39}", b["spool"]) and is_int(b["seq"], 1), "batch")
        need(isinstance(b["items"], list) and 0 < len(b["items"]) <= 500 and size <= 1 << 20, "size of a batch")
        with self.lock:
            self.largest = max(self.largest, size)
            for i in b["items"]:
                check_item(i)
            last, text = self.spools.get(b["spool"], (0, None))
            now = json.dumps(b["items"])
            if any(self.refuse_item(i) for i in b["items"]):
                return 400, {"error": {"code": "bad_json", "message": "test"}}
            if b["seq"] <= last:
                need(b["seq"] < last or now == text, "a batch came again with other items")
                self.duplicates += 1
                return 200, {"seq": b["seq"], "duplicate": True, "refused": 0}
            if b["seq"] > last + 1:
                return 409, {"error": {"code": "gap", "message": "test"}, "next": last + 1}
            self.spools[b["spool"]] = (b["seq"], now)
            self.items += b["items"]
            self.batches += 1
            return 200, {"seq": b["seq"], "duplicate": False, "refused": 0}

    def heartbeat(self, b):
        need(re.fullmatch("[A-Za-z0-9.+~_-]{1,63}", b["version"]), "version")
        need(all(is_int(b[k]) for k in ("uptime_s", "blocks", "rules_version", "policy_version")), "numbers")
        need(all(is_int(v) for v in b["status"].values()) and len(b["status"]) <= 40, "status")
        with self.lock:
            self.beats.append(b)
        return 200, dict(self.news(), time_ms=int(time.time() * 1000), heartbeat_s=self.heartbeat_s)

    def news(self):
        return {"rules_version": self.versions["rules"], "policy_version": self.versions["policy"], "renew": self.renew}

    # --- feed ---

    def set(self, target, seconds=3600, agent="", host="other"):
        with self.lock:
            self.seq += 1
            e = {"op": "set", "target": target, "expires_ms": int((time.time() + seconds) * 1000),
                 "created_ms": int(time.time() * 1000), "id": f"B{self.seq}", "agent": agent, "host": host,
                 "origin": "rule", "reason": "test", "sid": 1, "gid": 1}
            self.entries[target] = (self.seq, e)
            self.log.append((self.seq, e))
            self.lock.notify_all()

    def delete(self, target):
        with self.lock:
            self.seq += 1
            self.entries.pop(target, None)
            self.log.append((self.seq, {"op": "del", "target": target}))
            self.lock.notify_all()

    def feed(self, q):
        after, wait, epoch = int(q["after"]), int(q["wait"]), q.get("epoch")
        need(0 <= wait <= 60 and after >= 0 and (epoch is None or re.fullmatch("[A-Za-z0-9-]{1,39}", epoch)), "query")
        until = time.monotonic() + wait
        with self.lock:
            self.polls += 1
            reset = epoch != self.epoch
            need(epoch is not None or after == 0, "after without epoch")
            versions = dict(self.versions)
            while not reset and self.seq <= after and self.httpd is not None and versions == self.versions and \
                    epoch == self.epoch and not self.renew and time.monotonic() < until:
                self.lock.wait(min(0.5, max(0.01, until - time.monotonic())))
            reset = epoch != self.epoch
            if reset:
                after = 0
            source = sorted(self.entries.values(), key=lambda v: v[0]) if reset else \
                [v for v in self.log if v[0] > after]
            page = source[:self.page]
            more = len(source) > len(page)
            seq = page[-1][0] if more else self.seq
            return 200, dict(self.news(), epoch=self.epoch, seq=seq, reset=reset, more=more,
                             entries=[v[1] for v in page])

    def put_bundle(self, kind, version, payload="{}"):
        with self.lock:
            self.bundles[kind] = {"kind": kind, "version": version, "payload": payload,
                                  "signature": base64.b64encode(bytes(range(64))).decode()}
            self.versions[kind] = version
            self.lock.notify_all()

    # --- certificates ---

    def do_renew(self, b, agent, serial):
        with self.lock:
            pem = self.ca.agent(b["csr"], agent, time.time() - 1, time.time() + self.lifetime)
            new = openssl("x509", "-noout", "-serial", stdin=pem.encode()).decode().strip().split("=")[1]
            self.serials[agent] = (serial, new)
            self.renew = False
            self.renewals += 1
        return 200, {"certificate": pem, "ca": self.ca.text(), "signing_keys": [],
                     "not_after_ms": int((time.time() + self.lifetime) * 1000)}

    def enroll(self, b):
        need(isinstance(b["token"], str) and re.fullmatch("[A-Za-z0-9._-]{1,253}", b["host"]), "enrolment")
        need(re.fullmatch("[A-Za-z0-9.+~_-]{1,63}", b["version"]), "version")
        need(all(isinstance(v, str) for v in b.get("tags", {}).values()), "tags")
        code = self.tokens.get(b["token"], (401, "token_unknown"))
        if code is not None:
            return code[0], {"error": {"code": code[1], "message": "test"}}
        if self.identity and "identity" not in b:
            return 403, {"error": {"code": "identity_required", "message": "test"}}
        with self.lock:
            agent = "A" + base64.b32encode(os.urandom(17)).decode()[:26]
            pem = self.ca.agent(b["csr"], agent)
            self.enrolled.append(dict(b, agent=agent))
        return 201, {"agent": agent, "certificate": pem, "ca": self.ca.text(),
                     "signing_keys": [base64.b64encode(bytes(range(32))).decode()],
                     "not_after_ms": int((time.time() + 86400 * 30) * 1000), "heartbeat_s": 1}
