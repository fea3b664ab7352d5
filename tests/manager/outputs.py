#!/usr/bin/env python3
"""What the manager sends: SNS in Deep Security's JSON (moto, read back from a queue), and signed webhooks, to a receiver
that verifies the signature and is down, slow, failing, refusing or somebody else.

    outputs.py --manager PATH
"""
import argparse
import hmac
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time

from bed import REGION, Host, Manager, Moto, Tally, free_port, venv_tool, wait_until

SECRET = "a-secret-of-the-receiver-0123456789"

# Deep Security's published PacketLog sample, but what is about its own packet data (DataFlags, DataIndex, Type); and what
# converters of its IPS events take for granted.
SAMPLE = {
    "Action": int, "ActionString": str, "DestinationIP": str, "DestinationMAC": str, "DestinationPort": int,
    "Direction": int, "DirectionString": str, "DriverTime": int, "EventID": int, "EventType": str, "Flags": str,
    "Flow": int, "FlowString": str, "Frame": int, "FrameString": str, "HostAgentVersion": str, "HostAssetValue": int,
    "HostCloudType": str, "HostGroupID": int, "HostGroupName": str, "HostID": int, "HostInstanceID": str, "HostOS": str,
    "HostSecurityPolicyID": int, "HostSecurityPolicyName": str, "Hostname": str, "Interface": str, "LogDate": str,
    "Origin": int, "OriginString": str, "PacketSize": int, "Protocol": int, "ProtocolString": str, "Rank": int,
    "Reason": str, "RepeatCount": int, "SourceIP": str, "SourceMAC": str, "SourcePort": int, "Status": int, "Tags": str,
    "TenantID": int, "TenantName": str, "Severity": int, "HostOwnerID": str,
}


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def make_certificate(folder, name):
    """A certificate for 127.0.0.1 that is its own CA: (certificate, key)."""
    cert, key = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
            "-days", "2", "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1")
    return cert, key


def genuine(header, body, now=None):
    """As docs/outputs.md tells receivers."""
    try:
        stamp, mac = (part.split("=")[1] for part in header.split(","))
    except (ValueError, IndexError, AttributeError):
        return False
    want = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, "sha256").hexdigest()
    return hmac.compare_digest(mac, want) and abs((now or time.time()) - int(stamp)) < 300


class Receiver:
    """HTTPS on one port, by path: what came and was accepted, what was answered. Starts down."""

    def __init__(self, cert, key, port=None):
        self.cert, self.key, self.port = cert, key, port or free_port()
        self.got, self.tries, self.script, self.forged, self.delay = {}, {}, {}, 0, 0
        self.lock, self.server = threading.Lock(), None

    def handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if self.delay:
            time.sleep(self.delay)
        with self.lock:
            self.tries[request.path] = self.tries.get(request.path, 0) + 1
            script = self.script.get(request.path, [])
            status = script.pop(0) if script else 200
            if not genuine(request.headers.get("X-Sekisho-Signature"), body):
                self.forged += 1
                status = 401
            if status == 200:
                self.got.setdefault(request.path, []).append((json.loads(body), dict(request.headers), body))
        request.send_response(status)
        if status == 302:
            request.send_header("Location", f"https://127.0.0.1:{self.port}/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    def up(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # pylint: disable=invalid-name
                receiver.handle(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, allow_reuse_address = True, True

            def handle_error(self, *_):  # a client that does not like our certificate
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def down(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None

    def items(self, path):
        with self.lock:
            return [entry[0]["item"] for entry in self.got.get(path, [])]

    def targets(self, path):
        return [i.get("target") for i in self.items(path) if i["type"] == "block"]


def alert(signature, severity=1, action="blocked", **more):
    return {"type": "event", "time_ms": int(time.time() * 1000),
            "event": {"event_type": "alert", "src_ip": "203.0.113.5", "src_port": 40000, "dest_ip": "10.0.0.7",
                      "dest_port": 443, "proto": "TCP", "in_iface": "eth0", "direction": "to_server",
                      "alert": {"action": action, "gid": 1, "signature_id": 2001, "rev": 1, "signature": signature,
                                "category": "Web", "severity": severity}, **more}}


def sink_status(manager, name):
    """Of the manager's own report, wherever it stands in there; it writes one every ten seconds."""
    text = json.dumps(manager.json("status"))
    at = text.find(f'"name": "{name}"')
    return json.JSONDecoder().raw_decode(text[text.rfind("{", 0, at):])[0] if at >= 0 else {}


def settings(folder, receiver, other, moto, topics):
    secret = os.path.join(folder, "hook.key")
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
        f.write(SECRET + "\n")
    both = {"blocks": True, "events": True}
    hook = {"type": "webhook", "secret-file": secret, "ca-file": receiver.cert, **both}
    base = f"https://127.0.0.1:{receiver.port}"
    outputs = [{"name": "hook", "url": base + "/hook", **hook},
               {"name": "blocks", "url": base + "/blocks", **hook, "events": False},
               {"name": "dry", "url": base + "/dry", **hook, "dry-run": True},
               {"name": "stranger", "url": f"https://127.0.0.1:{other.port}/hook", **hook}]
    outputs += [{"name": name, "type": "sns", "topic": arn, **both} for name, arn in topics.items()]
    text = "outputs: " + json.dumps(outputs) + "\n"
    return text + (f"aws:\n  endpoint: {moto.endpoint}\n" if moto else "")


# --- webhooks ---

def check_webhook(t, m, host, r):
    t.check("a batch is taken", host.send([alert("SQL injection \"union\"\n"), host.block("203.0.113.5", 600)])[0] == 200)
    t.check("alert and block arrive", wait_until(lambda: len(r.items("/hook")) == 2, 20), r.tries)
    first, headers, body = r.got["/hook"][0]
    t.check("the item is as the agent sent it", first["item"]["event"]["alert"]["signature"] == "SQL injection \"union\"\n",
            first)
    t.check("the agent is named", first["agent"]["id"] == host.id and first["agent"]["host"] == "web-1", first["agent"])
    sig = headers["X-Sekisho-Signature"]
    t.check("a changed body is not genuine", not genuine(sig, body.replace(b"203.0.113.5", b"203.0.113.6")))
    t.check("nor one that is ten minutes old", not genuine(sig, body, time.time() + 600))
    t.check("nor one with another time", not genuine(sig.replace("t=", "t=1"), body))
    t.check("blocks without events", wait_until(lambda: len(r.items("/blocks")) == 1, 20) and
            r.items("/blocks")[0]["type"] == "block", r.items("/blocks"))
    host.send([{"type": "end", "id": r.items("/blocks")[0]["id"], "ended_ms": int(time.time() * 1000), "why": "unblocked"}])
    t.check("the end of a block", wait_until(lambda: len(r.items("/blocks")) == 2, 20) and
            r.items("/blocks")[1]["why"] == "unblocked", r.items("/blocks"))
    host.send([{**host.block("203.0.113.9"), "junk": "x" * 5000}])
    t.check("what is no field of an item is not passed on", wait_until(lambda: len(r.items("/blocks")) == 3, 20) and
            "junk" not in r.items("/blocks")[2], r.items("/blocks")[-1:])


def burst(host, first, n):
    host.send([host.block(f"198.51.100.{i}", 600) for i in range(first, first + n)])
    return [f"198.51.100.{i}" for i in range(first, first + n)]


def check_down(t, host, r):
    before = len(r.targets("/blocks"))
    r.down()
    want = burst(host, 1, 20)
    time.sleep(3)
    want += burst(host, 21, 5)
    r.up()
    t.check("down for a while: everything arrives", wait_until(lambda: len(r.targets("/blocks")) >= before + 25, 60),
            len(r.targets("/blocks")) - before)
    t.check("and in order", r.targets("/blocks")[before:] == want, r.targets("/blocks")[before:])


def check_failing(t, host, r):
    before, tries = len(r.targets("/blocks")), r.tries["/blocks"]
    r.script["/blocks"] = [500, 503, 429]
    want = burst(host, 30, 4)
    t.check("500, 503, 429: again until it is taken", wait_until(lambda: len(r.targets("/blocks")) >= before + 4, 60),
            r.tries)
    t.check("nothing overtook it", r.targets("/blocks")[before:] == want, r.targets("/blocks")[before:])
    t.check("three tries more", r.tries["/blocks"] - tries == 7, r.tries["/blocks"] - tries)


def check_slow(t, host, r):
    before = len(r.targets("/blocks"))
    r.delay = 1.5
    begun = time.monotonic()
    want = burst(host, 40, 3)
    took = time.monotonic() - begun
    t.check("a slow receiver does not slow down agents", took < 1, f"{took:.2f} s")
    t.check("slow, in order", wait_until(lambda: len(r.targets("/blocks")) >= before + 3, 40) and
            r.targets("/blocks")[before:] == want, r.targets("/blocks")[before:])
    r.delay = 0


def check_given_up(t, m, operator, host, r):
    before = len(r.targets("/blocks"))
    r.script["/blocks"] = [404, 403, 302, 404, 404]
    want = burst(host, 50, 2)
    t.check("refused five times: the next one is sent", wait_until(lambda: len(r.targets("/blocks")) >= before + 1, 90), r.tries)
    t.check("and only the refused one is missing", r.targets("/blocks")[before:] == want[1:], r.targets("/blocks")[before:])
    t.check("a redirection is not followed", "/elsewhere" not in r.tries, r.tries)
    audit = m.operator("GET", "/audit", operator)[1]
    told = [a for a in audit.get("audit", audit.get("records", [])) if a["what"] == "output-given-up"]
    t.check("it is in the audit record, with the reason", len(told) == 1 and "blocks" in told[0]["detail"] and
            "404" in told[0]["detail"], audit)


def check_killed(t, m, host, r):
    before = len(r.targets("/blocks"))
    r.down()
    want = burst(host, 60, 30)
    m.kill()
    r.up()
    m.restart()
    t.check("killed with 30 waiting: all arrive", wait_until(lambda: len(set(r.targets("/blocks")[before:])) >= 30, 60),
            len(r.targets("/blocks")) - before)
    seen = list(dict.fromkeys(r.targets("/blocks")[before:]))
    t.check("in order, twice at most where the kill fell", seen == want and len(r.targets("/blocks")) - before <= 31, seen)


def check_others(t, m, r, other):
    t.check("nothing came unsigned", r.forged == 0, r.forged)
    t.check("dry run: nothing is sent", "/dry" not in r.tries, r.tries)
    t.check("and it is logged", "output dry: dry run" in m.log(), m.log()[-400:])
    t.check("a receiver with a certificate of another CA gets nothing", not other.tries, other.tries)
    t.check("and that is logged", "output stranger:" in m.log(), m.log()[-400:])
    t.check("the secret is in no log", SECRET not in m.log())
    found = wait_until(lambda: sink_status(m, "blocks").get("sent", 0) > 0, 25)
    t.check("status counts", found, m.json("status"))


# --- SNS ---

def make_topics(moto):
    """A topic and a FIFO topic, each with a queue: ({name: ARN}, {name: queue URL})."""
    topics, queues = {}, {}
    for name, more in (("sns", []), ("fifo", ["--attributes", "FifoTopic=true"])):
        end = ".fifo" if name == "fifo" else ""
        topics[name] = moto.aws("sns", "create-topic", "--name", "security" + end, *more)["TopicArn"]
        queues[name] = moto.aws("sqs", "create-queue", "--queue-name", "reader" + end,
                                *(["--attributes", "FifoQueue=true"] if end else []))["QueueUrl"]
        arn = moto.aws("sqs", "get-queue-attributes", "--queue-url", queues[name], "--attribute-names", "QueueArn")
        moto.aws("sns", "subscribe", "--topic-arn", topics[name], "--protocol", "sqs", "--notification-endpoint",
                 arn["Attributes"]["QueueArn"])
    return topics, queues


class Queue:
    def __init__(self, moto, url):
        self.moto, self.url, self.got = moto, url, []

    def read(self, n):
        """All notifications so far, as soon as they are n."""
        end = time.monotonic() + 30
        while len(self.got) < n and time.monotonic() < end:
            m = self.moto.aws("sqs", "receive-message", "--queue-url", self.url, "--max-number-of-messages", "10",
                              "--attribute-names", "All") or {}
            for one in m.get("Messages", []):
                self.got.append({**json.loads(one["Body"]), "group": one.get("Attributes", {}).get("MessageGroupId")})
                self.moto.aws("sqs", "delete-message", "--queue-url", self.url, "--receipt-handle", one["ReceiptHandle"])
        return self.got


def check_event(t, e, host):
    wrong = [k for k, v in SAMPLE.items() if type(e.get(k)) is not v]
    t.check("each field of the published sample is there, of its type", not wrong, wrong)
    want = {"EventType": "PayloadLog", "Action": 1, "ActionString": "Deny", "Severity": 4, "SourceIP": "203.0.113.5",
            "DestinationPort": 443, "Protocol": 6, "Hostname": "web-1", "Reason": "SQL injection \"union\"\n"}
    t.check("what stands in it", all(e[k] == v for k, v in want.items()), {k: e.get(k) for k in want})
    try:
        at = time.mktime(time.strptime(e["LogDate"], "%Y-%m-%dT%H:%M:%S." + e["LogDate"][20:23] + "Z")) - time.timezone
        t.check("LogDate is now, with milliseconds", abs(at - time.time()) < 300, e["LogDate"])
    except ValueError:
        t.check("LogDate is now, with milliseconds", False, e["LogDate"])
    t.check("the agent's ID", e["HostAgentGUID"] == host.id, e["HostAgentGUID"])


def check_sns(t, moto, queues, host):
    # By now: alert, block and its end (no event there), and a second block.
    got = Queue(moto, queues["sns"]).read(3)
    t.check("alert and blocks come through SNS", len(got) >= 3, got)
    if len(got) < 3:
        return
    messages = [json.loads(n["Message"]) for n in got]
    t.check("a message is a list of one event", all(isinstance(m, list) and len(m) == 1 for m in messages), messages[:2])
    events = sorted((m[0] for m in messages), key=lambda e: e["EventID"])
    check_event(t, events[0], host)
    t.check("then the block", events[1]["SekishoBlockID"] and events[1]["SourceIP"] == "203.0.113.5", events[1])
    subject = next(n["Subject"] for n in got if "alert" in n["Subject"])
    t.check("the subject is printable and short", len(subject) < 100 and subject.isascii() and subject.isprintable(), subject)
    ids = [e["EventID"] for e in events]
    t.check("event numbers are not repeated", len(set(ids)) == len(ids), ids)
    fifo = Queue(moto, queues["fifo"]).read(3)
    t.check("a FIFO topic has the agent for group", len(fifo) >= 3 and all(n["group"] == host.id for n in fifo),
            [n.get("group") for n in fifo])


def check_refusals(t, program):
    """What a configuration may not say."""
    bad = {"plain HTTP": {"type": "webhook", "url": "http://hooks.example.com/x"},
           "no topic": {"type": "sns", "topic": "security"},
           "a secret that others may read": {"type": "webhook", "url": "https://127.0.0.1:1/", "secret-file": "SECRET"}}
    for what, sink in bad.items():
        with Manager(program) as m:
            if sink.get("secret-file"):
                sink["secret-file"] = m.path("secret")
                with open(m.path("secret"), "w", encoding="ascii") as f:
                    f.write(SECRET)
                os.chmod(m.path("secret"), 0o644)
            with open(m.conf, "a", encoding="utf-8") as f:
                f.write("outputs: " + json.dumps([{"name": "x", **sink}]) + "\n")
            done = subprocess.run([program, "run", "-c", m.conf], capture_output=True, text=True, timeout=30, check=False)
            t.check(f"not started: {what}", done.returncode != 0 and "output" in done.stderr and SECRET not in done.stderr,
                    done.stderr)


def run(t, program, moto):
    topics, queues = make_topics(moto) if moto else ({}, {})
    m = Manager(program, env=moto.env if moto else None)
    with m:
        cert, key = make_certificate(m.dir, "receiver")
        other_cert, other_key = make_certificate(m.dir, "stranger")
        r, other = Receiver(cert, key).up(), Receiver(other_cert, other_key).up()
        with open(m.conf, "a", encoding="utf-8") as f:
            f.write(settings(m.dir, r, other, moto, topics))
        m.init().start()
        operator = m.token("--kind", "operator", "--role", "read")
        host = Host(m, m.token(), "web-1")
        try:
            check_webhook(t, m, host, r)
            if moto:
                check_sns(t, moto, queues, host)
            check_down(t, host, r)
            check_failing(t, host, r)
            check_slow(t, host, r)
            check_given_up(t, m, operator, host, r)
            check_killed(t, m, host, r)
            check_others(t, m, r, other)
        finally:
            host.close()
            r.down()
            other.down()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--manager", required=True)
    args = p.parse_args()
    t = Tally("outputs")
    program = os.path.abspath(args.manager)
    check_refusals(t, program)
    if venv_tool("moto_server") and venv_tool("aws"):
        with Moto() as moto:
            run(t, program, moto)
    else:
        t.skip("SNS", "no virtual environment with moto and awscli (./dev test makes it)")
        run(t, program, None)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
