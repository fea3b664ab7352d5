#!/usr/bin/env python3
"""What somebody can do with what is not his: an agent's certificate, a token, a certificate that is like ours, a place on
the network. Each line is something that must not work, or whose reach is limited.

    attacks.py --manager PATH
"""
import argparse
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

from bed import Host, Manager, Tally, make_request, wait_until

NEVER = ["192.0.2.0/24", "2001:db8:1::/48"]
DAILY = 60  # agents.max-blocks


def targets(m, operator):
    return {e["target"] for e in m.operator("GET", "/entries?limit=1000", operator)[1]["entries"]}


def refused(answer, n):
    return answer[0] == 200 and answer[1]["refused"] == n


# --- an agent's certificate ---

def check_what_an_agent_may_not_block(t, m, host, operator):
    bad = {"all of IPv4": "0.0.0.0/0", "an eighth": "32.0.0.0/3", "a /16": "203.0.0.0/16", "a /23": "203.0.112.0/23",
           "all of IPv6": "::/0", "an IPv6 /32": "2001:db8::/32", "an IPv6 /63": "2001:db8:0:4::/63",
           "IPv4 in IPv6's clothes": "::ffff:203.0.0.0/112", "all of it in them": "::ffff:0.0.0.0/96",
           "loopback": "127.0.0.1", "loopback's network": "127.0.0.0/24", "multicast": "224.0.0.0/24", "nobody": "0.0.0.0",
           "everybody": "255.255.255.255", "IPv6 loopback": "::1", "IPv6 multicast": "ff02::/64",
           "the never-list": "192.0.2.0/24", "one of it": "192.0.2.77", "one of its IPv6 hosts": "2001:db8:1::5",
           "no address": "example.com", "host bits": "203.0.113.5/24", "a zone": "fe80::1%eth0"}
    for what, target in bad.items():
        for origin in ("rule", "operator"):
            answer = host.send([{**host.block(target), "origin": origin}])
            t.check(f"not blocked, {origin}: {what}", refused(answer, 1), answer)
    now = int(time.time() * 1000)
    odd = {"eight days": {"expires_ms": now + 8 * 86400000}, "for ever": {"expires_ms": 9007199254740991},
           "made tomorrow": {"created_ms": now + 86400000, "expires_ms": now + 8 * 86400000 - 1000},
           "an end before its beginning": {"expires_ms": now - 1000, "created_ms": now}, "a strange origin": {"origin": "fleet"},
           "an escape in the reason": {"reason": "\x1b[2J"}, "another agent's name for ID": {"id": "a" * 40}}
    for what, change in odd.items():
        answer = host.send([{**host.block("203.0.113.44"), **change}])
        t.check(f"not taken: {what}", refused(answer, 1), answer)
    t.check("none of it is in force", targets(m, operator) == set(), targets(m, operator))


def check_others_blocks(t, m, host, victim, operator):
    mine = victim.block("203.0.113.60", ident="BVICTIM1")
    t.check("a block of another agent", refused(victim.send([mine]), 0))
    end = {"type": "end", "id": "BVICTIM1", "ended_ms": int(time.time() * 1000), "why": "unblocked"}
    t.check("its end is nobody else's to tell", refused(host.send([end]), 1))
    t.check("with its name in it neither", refused(host.send([{**end, "agent": victim.id}]), 1))
    host.send([{**host.block("203.0.113.61", ident="BVICTIM1"), "agent": victim.id}])
    blocks = m.operator("GET", "/blocks?agent=" + victim.id, operator)[1]["blocks"]
    t.check("the same ID is another block", [b["target"] for b in blocks] == ["203.0.113.60"], blocks)
    t.check("still in force", "203.0.113.60" in targets(m, operator))
    answer = host.post("/v1/events", {"spool": victim.spool, "seq": 900, "items": []})
    t.check("another agent's spool is an own one here", answer[0] == 409, answer)
    t.check("and the other one goes on", refused(victim.send([]), 0))
    host.send([{"type": "event", "time_ms": 1, "agent": victim.id,
                "event": {"event_type": "alert", "agent": victim.id, "alert": {"signature": "forged"}}}])
    events = m.operator("GET", "/events?agent=" + victim.id, operator)[1]["events"]
    t.check("an event is the sender's, whatever it says", not events, events)
    host.send([{"type": "end", "id": "BVICTIM1", "ended_ms": int(time.time() * 1000), "why": "unblocked"}])


def check_flood_of_blocks(t, m, host, operator):
    """A stolen certificate must not be able to block the world: the daily number of one agent is limited."""
    before = len(targets(m, operator))
    taken = 0
    for i in range(4):
        answer = host.send([host.block(f"198.18.{i}.{k}", 600) for k in range(1, 51)])
        taken += 50 - answer[1]["refused"]
    t.check(f"of 200 blocks an agent gets {DAILY} at most", taken <= DAILY and taken >= DAILY / 2, taken)
    t.check("and so many are in force", len(targets(m, operator)) - before == taken, len(targets(m, operator)) - before)
    t.check("its events are taken all the same",
            refused(host.send([{"type": "event", "time_ms": 1, "event": {"event_type": "alert"}}]), 0))
    t.check("it is logged", f"agent {host.id}" in m.log(), m.log()[-500:])


def check_not_an_operator(t, m, host):
    for path in ("/agents", "/blocks", "/entries", "/events", "/tokens", "/audit", "/waf"):
        answer = host.get("/v1/operator" + path)
        t.check(f"an agent's certificate opens no {path}", answer[0] == 401, answer)
    answer = host.post("/v1/operator/unblock", {"target": "203.0.113.60"})
    t.check("nor does it lift blocks", answer[0] == 401, answer)


def check_stays_itself(t, m, host, victim):
    """Who renews is who has asked, whatever the request says."""
    key = os.path.join(m.dir, "renewed.key")
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True,
                   capture_output=True)
    csr = subprocess.run(["openssl", "req", "-new", "-key", key, "-subj", "/CN=" + victim.id, "-addext",
                          "basicConstraints=critical,CA:TRUE", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                          "-addext", "extendedKeyUsage=serverAuth"], check=True, capture_output=True, text=True).stdout
    status, answer = host.post("/v1/renew", {"csr": csr})
    t.check("renewal", status == 200, answer)
    cert = key[:-4] + ".pem"
    with open(cert, "w", encoding="ascii") as f:
        f.write(answer["certificate"])
    text = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-text"], check=True, capture_output=True,
                          text=True).stdout
    t.check("the name stays its own", f"CN = {host.id}" in text and victim.id not in text, text[:800])
    t.check("no CA, no server, no names", "CA:FALSE" in text and "TLS Web Server" not in text and "DNS:" not in text, text)
    old = m.call("GET", "/v1/bundles/rules", cert=host.cert, key=host.key)
    new = m.call("GET", "/v1/bundles/rules", cert=cert, key=key)
    after = m.call("GET", "/v1/bundles/rules", cert=host.cert, key=host.key)
    t.check("the old certificate counts until the new one is used", [old[0], new[0], after[0]] == [404, 404, 403],
            [old, new, after])
    host.close()
    host.cert, host.key = cert, key


def check_revoked(t, m, host, admin):
    got = []
    epoch = host.get("/v1/feed?after=0")[1]
    where = f"/v1/feed?epoch={epoch['epoch']}&after={epoch['seq']}&wait=20"
    waiter = threading.Thread(target=lambda: got.append(m.call("GET", where, cert=host.cert, key=host.key, timeout=40)))
    waiter.start()
    time.sleep(1.5)
    t.check("revoke", m.operator("POST", f"/agents/{host.id}/revoke", admin, {})[0] == 204)
    m.operator("POST", "/blocks", admin, {"target": "203.0.113.99", "seconds": 60, "reason": "news"})
    waiter.join(40)
    t.check("a poll that was waiting tells it nothing more", got and got[0][0] == 403, got)
    for method, path, body in (("GET", "/v1/feed?after=0", None), ("POST", "/v1/heartbeat", {"version": "1"}),
                               ("POST", "/v1/events", {"spool": "x", "seq": 1, "items": []}),
                               ("GET", "/v1/entry?target=203.0.113.99", None)):
        answer = m.call(method, path, body, cert=host.cert, key=host.key)
        t.check(f"revoked: {path.split('?')[0]}", answer[0] == 403 and answer[1]["error"]["code"] == "agent_revoked", answer)
    csr = make_request(m.dir, "again")[1]
    t.check("revoked: no renewal", m.call("POST", "/v1/renew", {"csr": csr}, cert=host.cert, key=host.key)[0] == 403)
    t.check("revoked: retiring does not bring it back", m.operator("POST", f"/agents/{host.id}/retire", admin, {})[0] == 409)


# --- certificates that are like ours ---

def openssl(*words, stdin=None):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, input=stdin).stdout


def forged_certificate(m, agent, name):
    """By a CA of the attacker's with the name of ours: (certificate, key)."""
    d = os.path.join(m.dir, "forged-" + name)
    os.mkdir(d)
    subject = openssl("x509", "-in", m.ca_file, "-noout", "-subject", "-nameopt", "compat").strip().split("subject=")[1]
    ca, cakey, key, csr, cert = (os.path.join(d, n) for n in ("ca.pem", "ca.key", "key.pem", "csr.pem", "cert.pem"))
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", cakey, "-out", ca,
            "-subj", subject, "-days", "30")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr,
            "-subj", "/CN=" + agent)
    ext = os.path.join(d, "ext")
    with open(ext, "w", encoding="ascii") as f:
        f.write("basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n")
    openssl("x509", "-req", "-in", csr, "-CA", ca, "-CAkey", cakey, "-CAcreateserial", "-days", "30", "-extfile", ext, "-out",
            cert)
    return cert, key


def refuses(m, cert, key):
    """By an answer, or in the handshake."""
    try:
        return m.call("GET", "/v1/feed?after=0", cert=cert, key=key)[0] == 401
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return True


def check_certificates(t, m, victim):
    t.check("no certificate", m.call("GET", "/v1/feed?after=0")[0] == 401)
    t.check("a CA of the same name", refuses(m, *forged_certificate(m, victim.id, "namesake")))
    own = os.path.join(m.dir, "own")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", own + ".key", "-out",
            own + ".pem", "-subj", "/CN=" + victim.id, "-days", "30")
    t.check("signed by itself", refuses(m, own + ".pem", own + ".key"))
    t.check("the server's own certificate", refuses(m, m.state + "/server.pem", m.state + "/server.key"))
    t.check("the CA's", refuses(m, m.ca_file, m.state + "/ca/ca.key"))
    chain = os.path.join(m.dir, "chain.pem")
    cert, key = forged_certificate(m, victim.id, "chained")
    with open(chain, "w", encoding="ascii") as f:
        for path in (cert, victim.cert, m.ca_file):
            f.write(open(path, encoding="ascii").read())
    t.check("a genuine one behind a forged one", refuses(m, chain, key))
    # An agent's certificate signs nothing.
    sub = os.path.join(m.dir, "sub")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", sub + ".key", "-out",
            sub + ".csr", "-subj", "/CN=" + victim.id)
    openssl("x509", "-req", "-in", sub + ".csr", "-CA", victim.cert, "-CAkey", victim.key, "-CAcreateserial", "-days", "5",
            "-out", sub + ".pem")
    with open(sub + ".pem", "a", encoding="ascii") as f:
        f.write(open(victim.cert, encoding="ascii").read())
    t.check("one that an agent's certificate has signed", refuses(m, sub + ".pem", sub + ".key"))


# --- tokens ---

def enroll(m, token, **more):
    _, csr = make_request(m.dir, "e-" + os.urandom(4).hex())
    return m.call("POST", "/v1/enroll", {"token": token, "csr": csr, "host": "thief", "version": "1", **more})


def check_tokens(t, m, admin, read):
    once = m.token()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(enroll(m, once)[0])) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    t.check("a token for one host is one host's, however many ask at once", sorted(answers) == [201] + [403] * 7, answers)
    t.check("an operator's token enrols nobody", enroll(m, admin)[0] == 401)
    t.check("a token for enrolment is no operator's", m.operator("GET", "/agents", m.token())[0] == 401)
    t.check("who may read may not write", [m.operator("POST", "/unblock", read, {"target": "203.0.113.60"})[0],
            m.operator("POST", "/tokens", read, {"kind": "operator", "role": "admin"})[0],
            m.operator("DELETE", "/tokens/x", read)[0]] == [403] * 3)
    for token in ("", "sko_", "sko_" + "a" * 52, admin[:-1], admin + "a", admin.upper(), "' OR 1=1 --"):
        try:
            status = m.operator("GET", "/agents", token)[0]
        except (ValueError, http.client.HTTPException):
            status = 401  # our own library would not send it
        t.check(f"no token: {token[:6]!r} ... {len(token)}", status in (400, 401), status)
    shown = json.dumps(m.operator("GET", "/tokens", admin)[1]) + json.dumps(m.operator("GET", "/audit?limit=1000", admin)[1])
    secrets = [once, admin, read]
    t.check("no secret of a token in lists or audit", not any(s in shown for s in secrets))
    t.check("nor in the log", not any(s in m.log() for s in secrets) and "ske_" not in m.log() and "sko_" not in m.log())
    database = b"".join(open(os.path.join(m.state, n), "rb").read() for n in os.listdir(m.state) if "manager.db" in n)
    t.check("nor in the database", not any(s.encode() in database for s in secrets))


# --- the network ---

def handshake(m, low, high):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.set_ciphers("ALL:@SECLEVEL=0")
    c.minimum_version, c.maximum_version = low, high
    try:
        with socket.create_connection((m.address, m.port), timeout=10) as s, c.wrap_socket(s) as w:
            return w.version()
    except (ssl.SSLError, OSError):
        return None


def check_network(t, m):
    v = ssl.TLSVersion
    t.check("TLS 1.2 and 1.3", handshake(m, v.TLSv1_2, v.TLSv1_2) and handshake(m, v.TLSv1_3, v.TLSv1_3))
    t.check("nothing older", not handshake(m, v.TLSv1, v.TLSv1_1))
    with socket.create_connection((m.address, m.port), timeout=15) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            got = s.recv(4096)
        except OSError:
            got = b""
        t.check("nothing without TLS", b"HTTP/1" not in got, got)
    files = {n: os.stat(os.path.join(m.state, n)).st_mode & 0o77 for n in os.listdir(m.state)}
    t.check("the state folder is the manager's alone", os.stat(m.state).st_mode & 0o77 == 0 and
            not any(mode for n, mode in files.items() if n.endswith(".key") or "manager.db" in n), files)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--manager", required=True)
    args = p.parse_args()
    t = Tally("attacks")
    settings = f"never: {json.dumps(NEVER)}\nagents: {{max-blocks: {DAILY}}}\n"
    with Manager(args.manager, settings=settings) as m:
        m.init().start()
        admin, read = (m.token("--kind", "operator", "--role", role) for role in ("admin", "read"))
        thief, victim = Host(m, m.token(), "thief"), Host(m, m.token(), "victim")
        check_what_an_agent_may_not_block(t, m, thief, read)
        check_others_blocks(t, m, thief, victim, read)
        check_not_an_operator(t, m, thief)
        check_certificates(t, m, victim)
        check_tokens(t, m, admin, read)
        check_network(t, m)
        check_stays_itself(t, m, thief, victim)
        check_flood_of_blocks(t, m, thief, read)
        check_revoked(t, m, thief, admin)
        t.check("the manager lives", wait_until(lambda: m.call("GET", "/healthz")[0] == 200, 5))
        thief.close()
        victim.close()
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
