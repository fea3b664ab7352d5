#!/usr/bin/env python3
"""Our signatures against botocore's, over random requests. Usage: sigv4_oracle.py --probe PATH [--n N] [--seed S]
botocore is taken from build/venv; without it: SKIP (77)."""
import argparse
import datetime
import json
import os
import random
import string
import subprocess
import sys
import urllib.parse

ap = argparse.ArgumentParser()
ap.add_argument("--probe", required=True)
ap.add_argument("--n", type=int, default=3000)
ap.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
args = ap.parse_args()
venv = os.path.join(os.environ.get("SEKISHO_VENV") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../../../build/venv"), "bin/python")
try:
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
except ImportError:
    if os.path.exists(venv) and "SIGV4_ORACLE" not in os.environ:
        os.environ["SIGV4_ORACLE"] = "1"
        os.execv(venv, [venv] + sys.argv)
    print("SKIP: no botocore, neither here nor in build/venv")
    sys.exit(77)

rnd = random.Random(args.seed)
unreserved = string.ascii_letters + string.digits + "-._~"
printable = "".join(chr(c) for c in range(0x20, 0x7f))


def text(alphabet, most, least=0):
    return "".join(rnd.choice(alphabet) for _ in range(rnd.randint(least, most)))


def path():
    segments = [urllib.parse.quote(text(printable + "éß中", 8, 1), safe="") for _ in range(rnd.randint(0, 4))]
    segments = [s for s in segments if s not in (".", "..")]
    return "/" + "/".join(segments)


def query():
    pairs = [(urllib.parse.quote(text(unreserved + " é&=/+", 6, 1), safe=""), urllib.parse.quote(
        text(unreserved + " é&=/+", 6), safe="")) for _ in range(rnd.randint(0, 5))]
    if pairs and rnd.random() < .3:
        pairs.append((pairs[0][0], "again"))
    return "&".join(k + "=" + v for k, v in pairs)


def request():
    names = {text(string.ascii_lowercase + string.digits + "-", 12, 1).strip("-") for _ in range(rnd.randint(0, 8))}
    names -= {"", "host", "x-amz-date", "authorization", "date"} | set(botocore.auth.SIGNED_HEADERS_BLACKLIST)
    return {"do": "sign", "method": rnd.choice(["GET", "POST", "PUT", "DELETE"]),
            "host": rnd.choice(["wafv2.us-east-1.amazonaws.com", "127.0.0.1:5001", "[fd00:ec2::1]:8080", "a.b"]),
            "path": path(), "query": query(), "region": rnd.choice(["us-east-1", "eu-central-1", "cn-north-1"]),
            "service": rnd.choice(["wafv2", "sns", "ec2"]),
            "headers": [n + ":" + text(printable, 30, 1).strip() + "v" for n in sorted(names, key=lambda _: rnd.random())],
            "body": text(printable + "\n\"é中", rnd.choice([0, 10, 1000])), "now": rnd.randint(1, 4102444800),
            "access_key": text(string.ascii_uppercase, 20, 16), "secret_key": text(printable.strip(), 60, 1),
            "token": text(string.ascii_letters + "+/=", 900, 1) if rnd.random() < .5 else ""}


def expected(q):
    now = datetime.datetime.fromtimestamp(q["now"], datetime.timezone.utc)
    botocore.auth.get_current_datetime = lambda: now.replace(tzinfo=None)  # newer versions
    botocore.auth.datetime = type("frozen", (), {"datetime": type("dt", (), {
        "utcnow": staticmethod(lambda: now.replace(tzinfo=None)), "now": staticmethod(lambda tz=None: now)})})
    creds = botocore.credentials.Credentials(q["access_key"], q["secret_key"], q["token"] or None)
    url = "https://" + q["host"] + q["path"] + ("?" + q["query"] if q["query"] else "")
    r = botocore.awsrequest.AWSRequest(method=q["method"], url=url, data=q["body"].encode(),
                                       headers=dict(h.split(":", 1) for h in q["headers"]))
    botocore.auth.SigV4Auth(creds, q["service"], q["region"]).add_auth(r)
    return r.headers["X-Amz-Date"], r.headers["Authorization"]


requests = [request() for _ in range(args.n)]
out = subprocess.run([args.probe], input="".join(json.dumps(q) + "\n" for q in requests), text=True,
                     capture_output=True, timeout=100)
answers = [json.loads(line) for line in out.stdout.splitlines()]
bad = 0
for q, a in zip(requests, answers):
    date, auth = expected(q)
    if a["rc"] != 0 or (a["date"], a["authorization"]) != (date, auth):
        bad += 1
        print("FAIL", json.dumps(q), "\n  ours  ", a, "\n  theirs", date, auth)
if len(answers) != len(requests) or out.returncode:
    bad += 1
    print("FAIL: the probe ended early:", out.returncode, out.stderr[-2000:])
print("sigv4_oracle: %d passed, %d failed, 0 skipped (seed %d)" % (len(answers) - bad, bad, args.seed))
sys.exit(bad > 0)
