#!/usr/bin/env python3
"""What must be refused by the manager's API is refused with the right status, logged, and without effect: tokens,
certificates, identity documents, bodies, SQL, slow clients, forms of HTTP of which two readers think differently."""
import argparse
import datetime
import json
import os
import shutil
import socket
import ssl
import sqlite3
import subprocess
import sys
import threading
import time

from api_bed import Agent, Answer, Client, Operator, Region, Server, Tally, block, event, make_csr, need_cryptography

need_cryptography("api_security")
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SQL = ["'; DROP TABLE agent; --", "\" OR 1=1 --", "x'); DELETE FROM block; --", "%s%n%d", "Robert'); DROP TABLE students;--"]
OLD = datetime.timedelta(days=400)


def utc():
    return datetime.datetime.now(datetime.timezone.utc)


class Forger:
    """Certificates that our CA has not made, and those that it would not make."""

    def __init__(self, server):
        self.server, self.n = server, 0
        with open(os.path.join(server.dir, "ca", "ca.key"), "rb") as f:
            self.ca_key = serialization.load_pem_private_key(f.read(), None)
        with open(server.ca, "rb") as f:
            self.ca = x509.load_pem_x509_certificate(f.read())
        with open(server.agent().path, "rb") as f:
            self.pattern = x509.load_pem_x509_certificate(f.read())
        self.own_key = ec.generate_private_key(ec.SECP256R1())

    def client(self, name, key=None, begin=-86400, end=86400, serial=None, usage=ExtendedKeyUsageOID.CLIENT_AUTH):
        """key: the CA's, or (None) one of our own under the same name."""
        self.n += 1
        private = ec.generate_private_key(ec.SECP256R1())
        kept = [e for e in self.pattern.extensions
                if type(e.value).__name__ not in ("ExtendedKeyUsage", "SubjectKeyIdentifier")]
        cert = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
                .issuer_name(self.ca.subject).public_key(private.public_key())
                .serial_number(serial or int.from_bytes(b"\x11" + os.urandom(15), "big"))
                .not_valid_before(utc() + datetime.timedelta(seconds=begin))
                .not_valid_after(utc() + datetime.timedelta(seconds=end))
                .add_extension(x509.ExtendedKeyUsage([usage]), False))
        for e in kept:
            cert = cert.add_extension(e.value, e.critical)
        cert = cert.sign(key or self.own_key, hashes.SHA256())
        path = os.path.join(self.server.dir, f"forged-{self.n}")
        with open(path + ".pem", "wb") as f:
            f.write(cert.public_bytes(serialization.Encoding.PEM))
        with open(path + ".key", "wb") as f:
            f.write(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption()))
        return Client(self.server, path + ".pem", path + ".key")


def beat(client):
    return client.post("/v1/heartbeat", {"version": "1"})


def refused(t, what, answer, status, code=None):
    t.check(f"{what}: {status} {code or ''}", answer.status == status and code in (None, answer.code), answer)


def count(server, table):
    db = sqlite3.connect(f"file:{server.dir}/manager.db?mode=ro", uri=True)
    try:
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        db.close()


def tokens(t, s):
    a = Agent(s, s.dir, "joiner")
    before = count(s, "agent")
    refused(t, "a token that nobody made", a.enroll("ske_" + "a" * 52), 401, "token_unknown")
    refused(t, "no token", a.enroll(""), 400, "bad_field")
    short = s.token_for(seconds=1)["secret"]
    time.sleep(1.2)
    refused(t, "a token whose time is over", a.enroll(short), 403, "token_expired")
    gone = s.token_for()
    s.operator.request("DELETE", f"/v1/operator/tokens/{gone['id']}")
    refused(t, "a revoked token", a.enroll(gone["secret"]), 403, "token_revoked")
    refused(t, "an operator's token", a.enroll(s.token), 401, "token_unknown")
    t.check("none of them made an agent", count(s, "agent") == before)
    two = s.token_for(uses=2)["secret"]
    for _ in range(2):
        t.check("a use of a token of two", a.enroll(two).status == 201)
    refused(t, "its third use", a.enroll(two), 403, "token_used_up")
    once = s.token_for()["secret"]
    refused(t, "a request that is malformed", a.enroll(once, host="a b"), 400, "bad_field")
    a.private, kept = Forger(s).own_key, a.private
    with open(a.key, "rb") as f:
        text = f.read()
    bad = a.post("/v1/enroll", {"token": once, "csr": make_csr(kept).replace("MI", "MJ", 1), "host": "h", "version": "1"})
    refused(t, "a broken certificate request", bad, 400, "bad_field")
    a.private = kept
    t.check("a use is not lost by what was refused", a.enroll(once).status == 201 and text)
    winners = []
    race = s.token_for()["secret"]

    def run(i):
        winners.append(Agent(s, s.dir, f"race-{i}").enroll(race).status)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(12)]
    for th in threads:
        th.start()
    for th in threads:
        th.join()
    t.check("of twelve at the same time one takes the one use", sorted(winners) == [201] + [403] * 11, winners)


def operators(t, s):
    reader = Operator(s, s.token_for("operator")["secret"])
    agent = s.agent()
    refused(t, "an operator without a token", s.anybody().get("/v1/operator/agents"), 401, "token_required")
    for what, header in (("Basic", "Basic YTpi"), ("an empty one", "Bearer "), ("half of one", f"Bearer {s.token[:30]}"),
                         ("one and more", f"Bearer {s.token}x"), ("two", f"Bearer {s.token}, Bearer {s.token}")):
        answer = s.anybody().get("/v1/operator/agents", headers={"Authorization": header})
        refused(t, "authorisation: " + what, answer, 401)
    refused(t, "a reader who blocks", reader.post("/v1/operator/blocks", {"target": "203.0.113.1", "seconds": 5}), 403,
            "role")
    refused(t, "a reader who makes a token", reader.post("/v1/operator/tokens", {"kind": "operator", "role": "admin"}),
            403, "role")
    refused(t, "a reader who revokes", reader.post(f"/v1/operator/agents/{agent.id}/revoke", {}), 403, "role")
    refused(t, "an agent's certificate at the operators' part", agent.get("/v1/operator/agents"), 401, "token_required")
    refused(t, "an operator's token at the agents' part", s.operator.get("/v1/feed"), 401, "certificate_required")
    short = s.token_for("operator", seconds=1)["secret"]
    time.sleep(1.2)
    refused(t, "an operator's token that is over", Operator(s, short).get("/v1/operator/agents"), 401, "token_expired")
    twice = Operator(s, s.token_for("operator", uses=1)["secret"])
    t.check("an operator's token of one use", twice.get("/v1/operator/agents").status == 200)
    refused(t, "and again", twice.get("/v1/operator/agents"), 401, "token_used_up")
    enrol = s.token_for()["secret"]
    refused(t, "an enrolment token", Operator(s, enrol).get("/v1/operator/agents"), 401, "token_unknown")
    gone = s.token_for("operator")
    s.operator.request("DELETE", f"/v1/operator/tokens/{gone['id']}")
    refused(t, "a revoked one", Operator(s, gone["secret"]).get("/v1/operator/agents"), 401, "token_revoked")
    t.check("the agent lives", beat(agent).status == 200)


def certificates(t, s):
    forger, agent, other = Forger(s), s.agent(), s.agent()
    refused(t, "no certificate", beat(s.anybody()), 401, "certificate_required")
    refused(t, "a CA of the same name, another key", beat(forger.client(agent.id)), 401, "certificate_refused")
    ours = forger.ca_key
    refused(t, "ours, a serial that was never given", beat(forger.client(agent.id, ours)), 403, "certificate_replaced")
    refused(t, "ours, an agent that does not exist", beat(forger.client("A" + "B" * 26, ours)), 401, "agent_unknown")
    refused(t, "ours, no agent's name", beat(forger.client("manager", ours)), 401, "certificate_refused")
    refused(t, "ours, over since yesterday", beat(forger.client(agent.id, ours, -9 * 86400, -86400)), 401,
            "certificate_expired")
    refused(t, "ours, not yet", beat(forger.client(agent.id, ours, 86400, 2 * 86400)), 401)
    refused(t, "ours, for servers", beat(forger.client(agent.id, ours, usage=ExtendedKeyUsageOID.SERVER_AUTH)), 401,
            "certificate_refused")
    late = forger.client(agent.id, ours, -40 * 86400, -8 * 86400)
    refused(t, "renewal eight days too late", late.post("/v1/renew", {"csr": make_csr(agent.private)}), 401,
            "certificate_expired")
    # another agent's: there is no field for it, and one that is made up is not looked at
    own = agent.batch(block(1, "203.0.113.50", agent=other.id))
    blocks = s.operator.get("/v1/operator/blocks?target=203.0.113.50").json["blocks"]
    t.check("a block is the certificate's, whatever it says", own.status == 200 and [b["agent"] for b in blocks] == [agent.id],
            blocks)
    ended = other.post("/v1/events", {"spool": agent.spool, "seq": 1, "items": [
        {"type": "end", "id": "B1", "ended_ms": 1, "why": "lifted"}]})
    t.check("another agent cannot end it", ended.status == 200 and ended.json["refused"] == 1, ended)
    t.check("it stays in force", agent.get("/v1/entry?target=203.0.113.50").status == 200)
    renewals(t, s, forger)
    departures(t, s)


def renewals(t, s, forger):
    agent = s.agent()
    old = Client(s, agent.path + ".old", agent.key)
    shutil.copy(agent.path, agent.path + ".old")
    answer = agent.post("/v1/renew", {"csr": make_csr(agent.private)})
    t.check("renewal", answer.status == 200)
    t.check("the old certificate holds until the new one is used", beat(old).status == 200)
    agent.take(answer.json["certificate"])
    t.check("the new one", beat(agent).status == 200)
    refused(t, "the old one from then on, on its open connection", beat(old), 403, "certificate_replaced")
    refused(t, "renewal with the old one", old.post("/v1/renew", {"csr": make_csr(agent.private)}), 403,
            "certificate_replaced")
    with open(agent.path, "rb") as f:
        serial = x509.load_pem_x509_certificate(f.read()).serial_number
    late = forger.client(agent.id, forger.ca_key, -9 * 86400, -86400, serial)
    refused(t, "a certificate that is over", beat(late), 401, "certificate_expired")
    answer = late.post("/v1/renew", {"csr": make_csr(agent.private, "CN=root' --")})
    t.check("may be renewed for seven days", answer.status == 200, answer)
    subject = x509.load_pem_x509_certificate(answer.json["certificate"].encode()).subject.rfc4514_string()
    t.check("and the subject is the agent's, whatever the request says", subject == f"CN={agent.id}", subject)
    for key, what in ((ec.generate_private_key(ec.SECP224R1()), "P-224"),):
        refused(t, f"a request for a {what} key", agent.post("/v1/renew", {"csr": make_csr(key)}), 400)


def departures(t, s):
    agent, polling = s.agent(), []
    feed = agent.get("/v1/feed").json
    waiting = Client(s, agent.path, agent.key)

    def poll():
        polling.append((waiting.get(f"/v1/feed?epoch={feed['epoch']}&after={feed['seq']}&wait=3"), time.time()))
    thread = threading.Thread(target=poll)
    thread.start()
    time.sleep(1.2)
    t.check("revocation", s.operator.post(f"/v1/operator/agents/{agent.id}/revoke", {}).status == 204)
    refused(t, "a revoked agent on its open connection", beat(agent), 403, "agent_revoked")
    refused(t, "a revoked agent's renewal", agent.post("/v1/renew", {"csr": make_csr(agent.private)}), 403, "agent_revoked")
    refused(t, "a revoked agent's feed", agent.get("/v1/feed"), 403, "agent_revoked")
    s.operator.post("/v1/operator/blocks", {"target": "203.0.113.60", "seconds": 60})
    thread.join()
    refused(t, "a poll that waited while its agent was revoked", polling[0][0], 403, "agent_revoked")
    agent = s.agent()
    t.check("an agent retires", agent.post("/v1/retire", {}).status == 204)
    refused(t, "a retired agent", beat(agent), 403, "agent_retired")


def identities(t, program):
    here, there, forger = Region("eu-west-1"), Region("us-east-1"), Region("eu-west-1")
    with Server(program, "-r", "-g", "300", "-R", "eu-west-1", "-U", "123456789012", regions=[here, there]) as s:
        a, before = Agent(s, s.dir, "instance"), count(s, "agent")
        token = s.token_for(uses=None)["secret"]

        def join(document):
            return a.enroll(token, identity=document)
        refused(t, "no document where one is wanted", a.enroll(token), 403, "identity_required")
        i = "i-00000000000000001"
        good = here.document(i)
        cases = [("of another key under the region's name", forger.document(i)),
                 ("with its own certificate inside", forger.document(i, embed=True)),
                 ("old", here.document(i, age=301)), ("from the future", here.document(i, age=-3600)),
                 ("of a region that is not allowed", there.document(i)),
                 ("signed by another region", here.document(i, signer=there)),
                 ("of an account that is not allowed", here.document(i, accountId="999999999999")),
                 ("cut", good[:len(good) // 2]), ("no base64", "!!!!" + good), ("something else", "aGVsbG8="),
                 ("changed", good[:-80] + ("A" if good[-80] != "A" else "B") + good[-79:])]
        for what, document in cases:
            refused(t, "a document " + what, join(document), 403, "identity_refused")
        refused(t, "a document of 20 KiB", join("A" * 20000), 400, "bad_field")
        t.check("none of them joined", count(s, "agent") == before)
        t.check("the right one does", join(good).status == 201)
        agent = s.operator.get(f"/v1/operator/agents/{a.id}").json
        t.check("and what it says is kept", (agent["instance"], agent["account"], agent["region"]) ==
                (i, "123456789012", "eu-west-1"), agent)
        refused(t, "the same again", join(good), 409, "instance_joined")
        refused(t, "another document of the same instance", join(here.document(i)), 409, "instance_joined")
        log = s.read_log()
        t.check("each is in the log with its reason", log.count("identity_refused (") == len(cases), log[-3000:])
        t.check("the server ends well", s.stop(), s.read_log()[-2000:])


def bodies(t, s):
    agent = s.agent()
    js = {"Content-Type": "application/json"}

    def post(text, path="/v1/events"):
        return agent.request("POST", path, text, headers=js)
    head, tail = b'{"spool":"s","seq":1,"items":[', b"]}"
    nested = b"[" * 400000
    cases = [("empty", b"", 400), ("no JSON", b"hello", 400), ("cut", head, 400), ("two", b"{}{}", 400),
             ("an array", b"[]", 400), ("deep", head + nested, 400), ("deep and closed", head + b"[" * 20 + b"]" * 20 + tail, 400),
             ("a number of 400 digits", b'{"spool":"s","seq":' + b"9" * 400 + b',"items":[]}', 400),
             ("2^63", b'{"spool":"s","seq":9223372036854775808,"items":[]}', 400),
             ("1e400", b'{"spool":"s","seq":1e400,"items":[]}', 400), ("seq 0", b'{"spool":"s","seq":0,"items":[]}', 400),
             ("seq 1.5", b'{"spool":"s","seq":1.5,"items":[]}', 400), ("seq as text", b'{"spool":"s","seq":"1","items":[]}', 400),
             ("items no array", b'{"spool":"s","seq":1,"items":{}}', 400), ("not UTF-8", b'{"spool":"\xff\xfe","seq":1,"items":[]}', 400),
             ("surrogates as UTF-8", b'{"spool":"s","x":"\xed\xa0\x80","seq":1,"items":[]}', 400),
             ("overlong UTF-8", b'{"spool":"s","x":"\xc0\xaf","seq":1,"items":[]}', 400), ("a NUL", b'{"spool":"s\x00","seq":1,"items":[]}', 400),
             ("an escaped NUL", b'{"spool":"s\\u0000","seq":1,"items":[]}', 400),
             ("a field twice", b'{"spool":"s","seq":1,"seq":2,"items":[]}', 400),
             ("70,000 values", head + b"0," * 70000 + b"0" + tail, 400), ("501 items", head + b"0," * 500 + b"0" + tail, 413),
             ("a long spool", b'{"spool":"' + b"s" * 40 + b'","seq":1,"items":[]}', 400)]
    for what, text, status in cases:
        refused(t, "a body: " + what, post(text), status)
    refused(t, "1 MiB and a byte", post(head + b" " * (1 << 20) + tail), 413, "too_large")
    refused(t, "64 KiB and more of a heartbeat", post(b'{"version":"1"}' + b" " * 65536, "/v1/heartbeat"), 413)
    refused(t, "text/plain", agent.request("POST", "/v1/events", b"{}", headers={"Content-Type": "text/plain"}), 415)
    t.check("nothing was taken", s.operator.get(f"/v1/operator/blocks?agent={agent.id}").json["blocks"] == [])
    text = head + json.dumps(event(pad="x" * 60000)).encode() + b"," + b",".join([b" " * 1000 + b"0"] * 499) + tail
    answer = post(text + b" " * ((1 << 20) - len(text)))
    t.check("exactly 1 MiB and 500 items are taken, wrong ones counted", answer.status == 200 and
            answer.json == {"seq": 1, "duplicate": False, "refused": 499}, answer)
    items = [block(1, "192.0.2.1"), block(2, "192.0.0.0/16"), block(3, "203.0.0.0/15"), block(4, "2001:db8::/31"),
             block(5, "203.0.113.1", 8 * 86400), block(6, "127.0.0.1"), block(7, "0.0.0.0/0"), block(8, "::/0"),
             block("9'; --", "203.0.113.2"), block(10, "203.0.113.3", reason="a\nb"), event("Alert"),
             block(11, "203.0.113.4", sid=-1), block(12, "203.0.113.5")]
    agent.spool = "items"
    answer = agent.batch(*items)
    t.check("of thirteen items only the one that is right", answer.status == 200 and answer.json["refused"] == 12, answer)
    t.check("is there", [b["target"] for b in s.operator.get(f"/v1/operator/blocks?agent={agent.id}").json["blocks"]] ==
            ["203.0.113.5"])


def injections(t, s):
    """What cannot be refused for its form comes back as it went in; the rest is refused; the tables are all there."""
    admin, agent = s.operator, s.agent()
    tables = {name for name in tables_of(s)}
    agent.spool = "sql"
    for i, sql in enumerate(SQL):
        answer = agent.batch(block(i, f"203.0.113.8{i}", reason=sql), event(signature=sql, **{sql: sql}))
        t.check(f"taken: {sql}", answer.status == 200 and answer.json["refused"] == 0, answer)
        found = admin.get(f"/v1/operator/blocks?target=203.0.113.8{i}").json["blocks"][0]["reason"]
        t.check("a reason comes back as it was", found == sql, found)
        newest = admin.get(f"/v1/operator/events?agent={agent.id}").json["events"][0]["event"]
        t.check("an event too", newest["signature"] == sql and newest[sql] == sql, newest)
        made = admin.post("/v1/operator/tokens", {"kind": "enrol", "note": sql})
        t.check("a note too", made.status == 201 and made.json["note"] == sql and
                any(k["note"] == sql for k in admin.get("/v1/operator/tokens").json["tokens"]), made)
        admin.post("/v1/operator/blocks", {"target": f"203.0.113.9{i}", "seconds": 60, "reason": sql})
        entry = [e for e in agent.get("/v1/feed").json["entries"] if e["target"] == f"203.0.113.9{i}"]
        t.check("an operator's reason too, in the feed", entry[0]["reason"] == sql, entry)
        quoted = "".join(f"%{b:02x}" for b in sql.encode())
        for path in (f"agents/{quoted}", f"agents?state={quoted}", f"blocks?target={quoted}", f"blocks?agent={quoted}",
                     f"events?type={quoted}", f"events?after={quoted}", f"audit?before={quoted}", f"entries?after={quoted}"):
            answer = admin.get("/v1/operator/" + path)
            if answer.status not in (400, 404):
                t.check(path, False, answer)
        answer = admin.request("DELETE", f"/v1/operator/tokens/{quoted}")
        t.check("in paths and parameters it is refused", answer.status == 404, answer)
        refused(t, "as a host", Agent(s, s.dir, "x").enroll(made.json["secret"], host=sql), 400)
        refused(t, "as a token", Agent(s, s.dir, "x").enroll(sql), 401)
        refused(t, "as a version", agent.post("/v1/heartbeat", {"version": sql}), 400)
        refused(t, "as a name in the status", agent.post("/v1/heartbeat", {"version": "1", "status": {sql: 1}}), 400)
        refused(t, "as a spool", agent.post("/v1/events", {"spool": sql, "seq": 1, "items": []}), 400)
        refused(t, "as an epoch", agent.get(f"/v1/feed?epoch={quoted}"), 400)
    t.check("all tables are there", tables == tables_of(s), tables_of(s))


def tables_of(s):
    db = sqlite3.connect(f"file:{s.dir}/manager.db?mode=ro", uri=True)
    try:
        return {r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    finally:
        db.close()


def read_answers(sock, timeout=5):
    """Everything that comes until the other side closes or falls silent: (status lines, closed?)."""
    sock.settimeout(timeout)
    data = b""
    try:
        while True:
            more = sock.recv(65536)
            if not more:
                return data, True
            data += more
    except (TimeoutError, socket.timeout):
        return data, False
    except (ConnectionResetError, ssl.SSLError):
        return data, True


def statuses(data):
    return [int(line.split()[1]) for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def framing(t, s):
    """The second request hides in the first's body for one of two readers: it must never be answered with what it asks
    for."""
    hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    n = str(len(hidden)).encode()
    post = b"POST /v1/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    cases = [("length and chunks", post + b"Content-Length: " + n + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden),
             ("chunks and length", post + b"Transfer-Encoding: chunked\r\nContent-Length: " + n + b"\r\n\r\n0\r\n\r\n" + hidden),
             ("two lengths", post + b"Content-Length: 0\r\nContent-Length: " + n + b"\r\n\r\n" + hidden),
             ("the same length twice", post + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + hidden),
             ("a list of lengths", post + b"Content-Length: 0, " + n + b"\r\n\r\n" + hidden),
             ("a negative length", post + b"Content-Length: -5\r\n\r\n" + hidden),
             ("a length with a sign", post + b"Content-Length: +0\r\n\r\n" + hidden),
             ("a length in hex", post + b"Content-Length: 0x0\r\n\r\n" + hidden),
             ("an endless length", post + b"Content-Length: 99999999999999999999999\r\n\r\n" + hidden),
             ("a space behind the name", post + b"Content-Length : " + n + b"\r\n\r\n" + hidden),
             ("a tab before the name", post + b"\tContent-Length: " + n + b"\r\n\r\n" + hidden),
             ("chunks in disguise", post + b"Transfer-Encoding: xchunked\r\n\r\n" + hidden),
             ("chunks alone", post + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden),
             ("identity", post + b"Transfer-Encoding: identity\r\n\r\n" + hidden),
             ("two hosts", b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + hidden),
             ("no host", b"GET /healthz HTTP/1.1\r\n\r\n" + hidden)]
    for what, text in cases:
        c = s.anybody().raw()
        c.sendall(text)
        data, closed = read_answers(c)
        got = statuses(data)
        t.check(f"framing: {what}: a refusal and the end", closed and all(400 <= x < 500 for x in got),
                (got, closed, data[:200]))
        c.close()


def odd_heads(t, s):
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    cases = [("100 KiB of one header", get + b"X: " + b"a" * 102400 + b"\r\n\r\n"),
             ("10,000 headers", get + b"".join(b"X%d: y\r\n" % i for i in range(10000)) + b"\r\n"),
             ("a path of 100 KiB", b"GET /" + b"a" * 102400 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
             ("no version", b"GET /healthz\r\n\r\n"), ("version 9.9", b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n"),
             ("binary", bytes(range(1, 256)) * 40 + b"\r\n\r\n"), ("NULs", b"\0" * 5000 + b"\r\n\r\n"),
             ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ("CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
             ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
             ("a method of 5,000 letters", b"A" * 5000 + b" / HTTP/1.1\r\nHost: a\r\n\r\n")]
    for what, text in cases:
        c = s.anybody().raw()
        try:
            c.sendall(text)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass
        data, _ = read_answers(c, 3)
        got = statuses(data)
        t.check(f"a head: {what}: refused", all(400 <= x < 600 and x != 500 for x in got), (got, data[:200]))
        c.close()
    c = s.anybody().raw()
    c.sendall(get * 1 + b"\r\n" + (get + b"\r\n") * 49)
    data, _ = read_answers(c, 2)
    t.check("fifty requests at once, fifty answers", data.count(b"HTTP/1.1 200") == 50, data.count(b"HTTP/1.1 200"))
    c.close()


def weak_tls(t, s):
    plain = socket.create_connection(("127.0.0.1", s.port), timeout=5)
    plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    data, _ = read_answers(plain, 5)
    t.check("HTTP without TLS has no answer", b"HTTP/1.1 200" not in data, data)
    for option in ("-tls1", "-tls1_1", "-cipher=AES128-SHA", "-cipher=ECDHE-ECDSA-AES128-SHA"):
        name, _, value = option.partition("=")
        extra = [value + "@SECLEVEL=0", "-tls1_2"] if value else ["-cipher", "ALL@SECLEVEL=0"]
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port}", name, *extra], input=b"",
                              capture_output=True, timeout=20)
        t.check(f"no TLS with {option}", done.returncode != 0 and b"Cipher is (NONE)" in done.stdout, done.stdout[-300:])
    for version in ("-tls1_2", "-tls1_3"):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port}", version, "-CAfile", s.ca], input=b"",
                              capture_output=True, timeout=20)
        t.check(f"TLS with {version}", done.returncode == 0 and b"Verify return code: 0 (ok)" in done.stdout)


def new_certificate(t, s):
    """Open connections go on; new ones see the new one."""
    def fingerprint():
        c = s.anybody().raw()
        der = c.getpeercert(True)
        c.close()
        return der
    agent, before = s.agent(), fingerprint()
    beat(agent)
    for _ in range(6):
        t.check("a new server certificate is taken", s.ask("cert") == {"set": 0})
    t.check("new connections see it", fingerprint() != before)
    t.check("an open one goes on", beat(agent).status == 200)


def slow(t, program):
    with Server(program, "-c", "400", "-C", "300") as s:
        agent, held, slowest = s.agent(), [], 0
        for i in range(200):
            if i % 4 == 0:  # says nothing at all, not even TLS
                held.append(socket.create_connection(("127.0.0.1", s.port), timeout=20))
                continue
            c = s.anybody().raw()
            c.sendall([b"G", b"GET /healthz HTTP/1.1\r\nX: ", b"POST /v1/enroll HTTP/1.1\r\nHost: localhost\r\n"
                       b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"][i % 4 - 1])
            held.append(c)
        begun, dead = time.time(), 0
        alive = list(held)
        while alive and time.time() - begun < 45:
            one = time.time()
            if beat(agent).status != 200:
                t.check("a heartbeat beside them", False)
            slowest = max(slowest, time.time() - one)
            for c in list(alive):
                try:
                    if not isinstance(c, ssl.SSLSocket):
                        c.setblocking(False)
                        if c.recv(1) == b"":
                            raise ConnectionResetError
                    else:
                        c.settimeout(0.2)
                        c.sendall(b"a")
                except BlockingIOError:
                    continue
                except OSError:
                    alive.remove(c)
                    dead += 1
            time.sleep(0.5)
        t.check("200 clients that send a byte now and then are all closed", not alive, len(alive))
        t.check(f"and hold nobody up (slowest heartbeat {slowest * 1000:.0f} ms)", slowest < 1)
        t.check("they are counted", s.status()["connections_closed_slow"] >= 200, s.status())
        for c in held:
            c.close()
        deadline = time.time() + 5
        while s.status()["connections"] > 2 and time.time() < deadline:
            time.sleep(0.2)
        t.check("and leave nothing behind", s.status()["connections"] <= 2, s.status()["connections"])
    with Server(program, "-c", "60", "-C", "20") as s:
        held = [socket.create_connection(("127.0.0.1", s.port), timeout=20) for _ in range(20)]
        time.sleep(0.5)
        try:
            answer = s.anybody().get("/healthz").status
        except (OSError, ssl.SSLError):
            answer = None
        t.check("one address has no more connections than it may", answer is None, answer)
        for c in held:
            c.close()
        time.sleep(0.5)
        t.check("and again when they are gone", s.anybody().get("/healthz").status == 200)


def stopping(t, program):
    """Polls that wait are answered, and the end does not wait for them."""
    with Server(program) as s:
        agents, answers = [s.agent() for _ in range(6)], []

        def poll(a):
            feed = a.get("/v1/feed").json
            answers.append(a.get(f"/v1/feed?epoch={feed['epoch']}&after={feed['seq']}&wait=60").status)
        threads = [threading.Thread(target=poll, args=(a,)) for a in agents]
        for th in threads:
            th.start()
        deadline = time.time() + 20
        while s.status()["polls_waiting"] < 6 and time.time() < deadline:
            time.sleep(0.1)
        begun = time.time()
        t.check("a server with waiting polls ends well", s.stop(), s.read_log()[-2000:])
        t.check("and soon", time.time() - begun < 8, time.time() - begun)
        for th in threads:
            th.join()
        t.check("each poll has its answer", answers == [200] * 6, answers)


def rates(t, program):
    with Server(program, "-a", "2", "-A", "20") as s:
        agent, other = s.agent(), s.agent()
        answers = [beat(agent) for _ in range(60)]
        got, refused = [r.status for r in answers], [r for r in answers if r.status == 429]
        t.check("an agent that asks too often is refused", len(refused) > 20 and got[0] == 200, got)
        t.check("others are not", beat(other).status == 200)
        t.check("and is told when to come again, each time", all(int(r.headers.get("Retry-After", 0)) > 0 for r in refused), refused)
        client = s.anybody()
        got = [client.get("/healthz").status for _ in range(900)]
        t.check("so is an address", got.count(429) > 100, got.count(429))
        t.check("agents are not counted by their address", beat(other).status == 200)


def secrets(t, s, extra):
    log = s.read_log()
    for what, secret in extra:
        t.check(f"{what} is not in the log", secret not in log)
    t.check("no control character is in the log", all(c == "\n" or c >= " " for c in log))
    with open(os.path.join(s.dir, "manager.db"), "rb") as f:
        data = f.read()
    wal = os.path.join(s.dir, "manager.db-wal")
    if os.path.exists(wal):
        with open(wal, "rb") as f:
            data += f.read()
    for what, secret in extra:
        t.check(f"{what} is not in the store", secret.encode() not in data)
    for code in ("401 token_unknown", "403 token_expired", "403 token_revoked", "403 token_used_up",
                 "401 certificate_required", "401 certificate_refused", "401 certificate_expired",
                 "403 certificate_replaced", "403 agent_revoked", "403 agent_retired", "403 role", "400 bad_json"):
        t.check(f"refusals are logged: {code}", code in log)
    mode = os.stat(os.path.join(s.dir, "ca", "ca.key")).st_mode & 0o777
    t.check("the CA's key is its owner's alone", mode == 0o600, oct(mode))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="tests/unit/api/api_server")
    args = parser.parse_args()
    t = Tally("api_security")
    with Server(args.server, "-n", "192.0.2.0/24") as s:
        marked = s.token_for(uses=None)["secret"]
        Agent(s, s.dir, "marked").enroll(marked)
        for part in (tokens, operators, certificates, bodies, injections, framing, odd_heads, weak_tls, new_certificate):
            part(t, s)
        secrets(t, s, [("an operator's token", s.token[4:]), ("an enrolment token", marked[4:])])
        audit = s.operator.get("/v1/operator/audit?limit=1000").json["audit"]
        t.check("changes are in the audit", {"enrol", "renew", "retire", "token.create", "token.revoke", "block",
                                             "agent.revoke"} <= {a["what"] for a in audit}, {a["what"] for a in audit})
        t.check("the server ends well", s.stop(), s.read_log()[-2000:])
    identities(t, args.server)
    stopping(t, args.server)
    rates(t, args.server)
    slow(t, args.server)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
