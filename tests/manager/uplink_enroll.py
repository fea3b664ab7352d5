#!/usr/bin/env python3
"""`sekisho enroll` against a manager that the test plays: uplink_enroll.py --agent PATH"""
import argparse
import glob
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from bed import Tally
from fake_manager import CA, FakeManager, openssl
from uplink_role import reporter_user

TOKEN = "ske_" + "a" * 52


class Imds(BaseHTTPRequestHandler):
    """IMDSv2, as far as it is needed."""
    broken = False

    def log_message(self, *args):
        pass

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self):
        good = self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self.reply(200 if good and not self.broken else 403, "session-token" if good else "")

    def do_GET(self):
        good = self.headers.get("X-aws-ec2-metadata-token") == "session-token" and \
            self.path == "/latest/dynamic/instance-identity/rsa2048"
        self.reply(200 if good else 401, "MIIdocument\nAAAA\n" if good else "")


class Host:
    def __init__(self, program, folder, fake):
        self.program, self.fake, self.dir = program, fake, folder
        self.state = os.path.join(folder, "state")
        self.home = os.path.join(self.state, "uplink")
        os.makedirs(self.state, mode=0o700, exist_ok=True)

    def enroll(self, *words, token=("--token", TOKEN), ca=True, env=None, stdin=None):
        args = [self.program, "enroll", "--manager", self.fake.url, "--set", f"guard.state-dir={self.state}", "--set",
                f"manager.state-dir={self.home}", "--set", f"guard.control-socket={self.dir}/control.sock", *token]
        args += ["--ca", self.fake.ca.pem] if ca else []
        e = {k: v for k, v in os.environ.items() if k != "SEKISHO_TOKEN"}
        return subprocess.run(args + list(words), capture_output=True, text=True, env=dict(e, **(env or {})), input=stdin,
                              timeout=60)

    def left(self):
        """Files that a failure has left behind."""
        return [p for p in glob.glob(self.state + "/**", recursive=True) if os.path.isfile(p) or p.endswith(".enrol")]

    def clean(self):
        shutil.rmtree(self.state)
        os.makedirs(self.state, mode=0o700)


def good(t, h, fake):
    r = h.enroll("--tag", "env=test", "--tag", "team=a b")
    t.check("enroll: works", r.returncode == 0 and "Enrolled as A" in r.stdout, r.stderr)
    t.check("enroll: says that the agent is not running", "not running" in r.stdout, r.stdout)
    asked = fake.enrolled[-1] if fake.enrolled else {}
    t.check("enroll: token, version and tags", asked.get("token") == TOKEN and asked.get("tags") == {
        "env": "test", "team": "a b"} and "identity" not in asked, asked)
    uid, gid = reporter_user()
    stats = {n: os.stat(os.path.join(h.home, n)) for n in ("agent.json", "key.pem", "cert.pem", "ca.pem")}
    t.check("enroll: files of the uplink's user, for nobody else", all(
        s.st_uid == uid and s.st_gid == gid and stat.S_IMODE(s.st_mode) == 0o600 for s in stats.values()) and
        stat.S_IMODE(os.stat(h.home).st_mode) == 0o700 and os.stat(h.home).st_uid == uid)
    t.check("enroll: whom the folder above lets through", stat.S_IMODE(os.stat(h.state).st_mode) == 0o711,
            oct(os.stat(h.state).st_mode))
    a = json.load(open(os.path.join(h.home, "agent.json")))
    t.check("enroll: agent.json", a == {"manager": fake.url, "agent": asked.get("agent"), "heartbeat_s": 1}, a)
    keys = os.path.join(h.state, "signing-keys")
    t.check("enroll: signing keys are root's", os.stat(keys).st_uid == 0 and
            re.fullmatch("[A-Za-z0-9+/]{43}=\n", open(keys).read()) is not None, open(keys).read())
    subject = openssl("x509", "-noout", "-pubkey", "-in", os.path.join(h.home, "cert.pem"))
    mine = openssl("pkey", "-pubout", "-in", os.path.join(h.home, "key.pem"))
    t.check("enroll: the certificate is for this key", subject == mine)
    t.check("enroll: and nothing else", sorted(os.path.basename(p) for p in h.left()) == [
        "agent.json", "ca.pem", "cert.pem", "key.pem", "signing-keys"], h.left())
    before = open(os.path.join(h.home, "key.pem")).read()
    r = h.enroll()
    t.check("enroll: not twice", r.returncode == 1 and a["agent"] in r.stderr and "--again" in r.stderr, r.stderr)
    fake.tokens[TOKEN] = (403, "token_expired")
    r = h.enroll("--again")
    t.check("enroll: again, in vain: what was there stays", r.returncode == 4 and
            open(os.path.join(h.home, "key.pem")).read() == before and len(h.left()) == 5, h.left())
    fake.tokens[TOKEN] = None
    r = h.enroll("--again")
    t.check("enroll: again", r.returncode == 0 and open(os.path.join(h.home, "key.pem")).read() != before and
            len(h.left()) == 5, (r.stderr, h.left()))
    h.clean()


def tokens(t, h, fake):
    path = os.path.join(h.dir, "token")
    with open(path, "w") as f:
        f.write(TOKEN + "\n")
    for what, kw in (("a file", {"token": ("--token-file", path)}), ("standard input", {"token": ("--token", "-"),
                                                                                        "stdin": TOKEN + "\n"}),
                     ("the environment", {"token": (), "env": {"SEKISHO_TOKEN": TOKEN}})):
        r = h.enroll(**kw)
        t.check(f"token: from {what}", r.returncode == 0, r.stderr)
        h.clean()
    r = h.enroll(token=())
    t.check("token: none", r.returncode == 2 and "token" in r.stderr, r.stderr)
    for code, status, word in (("token_unknown", 401, "does not know"), ("token_expired", 403, "expired"),
                               ("token_used_up", 403, "--uses"), ("token_revoked", 403, "revoked"),
                               ("identity_required", 403, "--identity"), ("identity_refused", 403, "account"),
                               ("instance_joined", 409, "retire")):
        fake.tokens[TOKEN] = (status, code)
        r = h.enroll()
        t.check(f"token: {code} is explained", r.returncode == 4 and word in r.stderr and TOKEN not in r.stderr and
                not h.left(), (r.stderr, h.left()))
    fake.tokens[TOKEN] = None
    for bad in ("x\"y", "a b", "", "x" * 200):
        r = h.enroll(token=("--token", bad))
        t.check(f"token: {bad[:8]!r} goes nowhere", r.returncode != 0 and not h.left(), r.stderr)


def trust(t, h, fake):
    sha = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", fake.ca.pem).decode().split("=")[1].strip()
    n = len(fake.requests)
    r = h.enroll(ca=False)
    t.check("trust: a CA that the system does not know", r.returncode == 5 and "--ca-fingerprint" in r.stderr and
            not h.left(), r.stderr)
    r = h.enroll("--ca-fingerprint", sha.replace("0", "1").replace("A", "B"), ca=False)
    t.check("trust: another fingerprint", r.returncode == 5 and "fingerprint" in r.stderr and not h.left(), r.stderr)
    other = CA(os.path.join(h.dir, "other"), "other")
    r = h.enroll("--ca", other.pem, ca=False)
    t.check("trust: another CA", r.returncode == 5 and "does not fit" in r.stderr and not h.left(), r.stderr)
    t.check("trust: nobody of them was told anything", len(fake.requests) == n, fake.requests[n:])
    for text in (sha, sha.replace(":", "").lower()):
        r = h.enroll("--ca-fingerprint", text, ca=False)
        t.check("trust: by the fingerprint", r.returncode == 0, r.stderr)
        t.check("trust: which is kept", open(os.path.join(h.home, "ca.pem")).read().strip() == fake.ca.text().strip())
        h.clean()
    leaf = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", fake.server_cert[0]).decode().split("=")[1].strip()
    r = h.enroll("--ca-fingerprint", leaf, ca=False)
    t.check("trust: the server's own certificate is no CA", r.returncode == 5 and "no CA" in r.stderr, r.stderr)
    for bad in ("12", "zz" * 32, "ab" * 33):
        r = h.enroll("--ca-fingerprint", bad, ca=False)
        t.check(f"trust: {bad[:4]}.. is no fingerprint", r.returncode == 1 and "64 hex" in r.stderr, r.stderr)
    r = h.enroll("--manager", "http://127.0.0.1:1")
    t.check("trust: not without TLS", r.returncode == 1 and "https://" in r.stderr, r.stderr)
    r = h.enroll("--manager", "https://127.0.0.1:1")
    t.check("trust: nobody there", r.returncode == 3 and "cannot be reached" in r.stderr and not h.left(), r.stderr)


def answers(t, h, fake):
    fake.garbage = True
    r = h.enroll()
    t.check("answers: garbage", r.returncode == 1 and not h.left(), (r.stderr, h.left()))
    fake.garbage, fake.reset = False, True
    r = h.enroll()
    t.check("answers: none", r.returncode == 3 and not h.left(), r.stderr)
    fake.reset = False
    keep = fake.ca.agent
    other = fake.ca.request(os.path.join(h.dir, "k"), "other")
    fake.ca.agent = lambda csr, agent, *a: keep(other, agent, *a)
    r = h.enroll()
    t.check("answers: a certificate for another key", r.returncode == 1 and not h.left(), (r.stderr, h.left()))
    fake.ca.agent = keep
    fake.failing = {"/v1/enroll": 503}
    fake.retry_after = 7
    r = h.enroll()
    t.check("answers: busy", r.returncode == 3 and "7 s" in r.stderr and not h.left(), r.stderr)
    fake.failing = {}
    os.makedirs(os.path.join(h.home, "file"))
    os.makedirs(h.home + ".enrol")
    open(h.home + ".enrol/left", "w").close()
    r = h.enroll()
    t.check("answers: what an interrupted one has left is no hindrance", r.returncode == 0, r.stderr)
    h.clean()


def identity(t, h, fake):
    server = HTTPServer(("127.0.0.1", 0), Imds)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    fake.identity = True
    r = h.enroll("--imds", url)
    t.check("identity: the document is sent", r.returncode == 0 and
            fake.enrolled[-1].get("identity") == "MIIdocument\nAAAA\n", r.stderr)
    h.clean()
    fake.identity = False
    Imds.broken = True
    r = h.enroll("--imds", url)
    t.check("identity: it can do without", r.returncode == 0 and "identity" not in fake.enrolled[-1], r.stderr)
    h.clean()
    r = h.enroll("--imds", url, "--identity")
    t.check("identity: unless it must not", r.returncode == 1 and "identity document" in r.stderr and not h.left(),
            r.stderr)
    server.shutdown()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    p.add_argument("--manager")
    args = p.parse_args()
    t = Tally("uplink_enroll")
    if os.geteuid() != 0 or not shutil.which("openssl"):
        t.skip("uplink_enroll", "needs root and openssl")
        return t.end()
    folder = tempfile.mkdtemp(prefix="uplink-enroll-")
    os.chmod(folder, 0o755)
    fake = FakeManager(os.path.join(folder, "m")).start()
    fake.tokens[TOKEN] = None
    try:
        h = Host(os.path.abspath(args.agent), folder, fake)
        for case in (good, tokens, trust, answers, identity):
            case(t, h, fake)
        t.check("enroll: nothing that the API does not know", not fake.wrong, fake.wrong)
    finally:
        fake.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
