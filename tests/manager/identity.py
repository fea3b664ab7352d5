#!/usr/bin/env python3
"""Enrolment with EC2's instance identity documents: documents as IMDS gives them, signed by openssl with keys that are made
here and pinned as two regions'; and what an attacker makes of them.

    identity.py --manager PATH
"""
import argparse
import base64
import json
import os
import subprocess
import sys
import time

from bed import Manager, Tally, make_request

ACCOUNT = "123456789012"


def openssl(*words, stdin=None):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, input=stdin).stdout


class Region:
    """A key of AWS's in some region, or of somebody who says so."""

    def __init__(self, folder, name):
        self.name, self.cert, self.key = name, *(os.path.join(folder, name + end) for end in (".pem", ".key"))
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.cert, "-days", "30",
                "-subj", "/C=US/O=Amazon Web Services LLC")

    def sign(self, document, *options):
        """As /latest/dynamic/instance-identity/rsa2048: base64 in lines, no certificate inside."""
        der = openssl("smime", "-sign", "-binary", "-nodetach", "-md", "sha256", "-signer", self.cert, "-inkey", self.key,
                      "-outform", "DER", *(options or ("-nocerts",)), stdin=document.encode())
        return base64.encodebytes(der).decode()


def document(instance="i-1234567890abcdef0", region="eu-west-1", age=60, account=ACCOUNT, **more):
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
    return json.dumps({"accountId": account, "architecture": "x86_64", "availabilityZone": region + "a",
                       "billingProducts": None, "devpayProductCodes": None, "marketplaceProductCodes": None,
                       "imageId": "ami-5fb8c835", "instanceId": instance, "instanceType": "t3.micro", "kernelId": None,
                       "pendingTime": started, "privateIp": "10.0.0.7", "ramdiskId": None, "region": region,
                       "version": "2017-09-30", **more}, indent=2)


def enroll(m, token, identity=None):
    _, csr = make_request(m.dir, "e-" + os.urandom(4).hex())
    body = {"token": token, "csr": csr, "host": "web-1", "version": "1"}
    if identity is not None:
        body["identity"] = identity
    status, answer, _ = m.call("POST", "/v1/enroll", body)
    return status, answer["error"]["code"] if status >= 400 else answer["agent"]


def check_refused(t, m, token, ireland, virginia, thief):
    sign = ireland.sign
    genuine = sign(document("i-00000000000000001"))
    at = len(genuine) // 2
    bad = {
        "the attacker's certificate inside": thief.sign(document(), "-binary"),
        "signed by an attacker": thief.sign(document()),
        "another region's key": virginia.sign(document()),
        "a region of which nothing is pinned": sign(document(region="ap-south-1")),
        "a region that is not allowed": virginia.sign(document(region="us-east-1")),
        "another account": sign(document(account="210987654321")),
        "two hours old": sign(document(age=7200)),
        "from the future": sign(document(age=-300)),
        "no instance": sign(document("web-1")),
        "a path for an instance": sign(document("../../etc/passwd")),
        "no document": sign("hello"),
        "the document alone": base64.b64encode(document().encode()).decode(),
        "cut off": genuine[:at],
        "changed": genuine[:at] + ("A" if genuine[at] != "A" else "B") + genuine[at + 1:],
        "something behind it": genuine.strip() + "QUJD",
        "nothing": "",
    }
    for what, identity in bad.items():
        got = enroll(m, token, identity)
        t.check(f"refused: {what}", got in ((403, "identity_refused"), (400, "bad_field")), got)
    t.check("refused: none at all", enroll(m, token) == (403, "identity_required"))
    left = [k for k in m.operator("GET", "/tokens", m.admin)[1]["tokens"] if k["kind"] == "enrol"]
    t.check("nothing of that has used up the token", left[0]["used"] == 0, left)


def check_joins(t, m, token, ireland):
    first = enroll(m, token, ireland.sign(document()))
    t.check("a genuine one", first[0] == 201, first)
    agent = m.operator("GET", "/agents/" + first[1], m.admin)[1]
    t.check("the instance is the agent's", [agent["instance"], agent["account"], agent["region"]] ==
            ["i-1234567890abcdef0", ACCOUNT, "eu-west-1"], agent)
    again = ireland.sign(document())
    t.check("an instance joins once", enroll(m, token, again) == (409, "instance_joined"))
    t.check("the token of another does not help", enroll(m, m.token(), again) == (409, "instance_joined"))
    t.check("another instance", enroll(m, token, ireland.sign(document("i-0fedcba9876543210")))[0] == 201)
    m.operator("POST", f"/agents/{first[1]}/retire", m.admin, {})
    second = enroll(m, token, again)
    t.check("retired: it may come back, as another agent", second[0] == 201 and second[1] != first[1], second)
    m.operator("POST", f"/agents/{second[1]}/revoke", m.admin, {})
    t.check("revoked: it may not", enroll(m, token, again) == (409, "instance_joined"))
    t.check("a document is no token", enroll(m, "ske_" + "a" * 52, again)[0] == 401)


def check_configuration(t, program):
    """Files of certificates with which the manager does not start: there would be nothing to verify with."""
    for what, text in (("no certificate", "# none yet\n"), ("garbage", "# region: eu-west-1\nhello\n"),
                       ("no file", None)):
        with Manager(program) as m:
            path = m.path("certs.pem")
            if text is not None:
                with open(path, "w", encoding="ascii") as f:
                    f.write(text)
            with open(m.conf, "a", encoding="utf-8") as f:
                f.write(f"identity: {{certificates: {path}, required: yes}}\n")
            done = subprocess.run([m.program, "run", "-c", m.conf], capture_output=True, text=True, timeout=30, check=False)
            t.check(f"not started: {what}", done.returncode != 0 and "certs.pem" in done.stderr, done.stderr)
    with Manager(program, settings="identity: {required: yes}\n") as m:
        done = subprocess.run([m.program, "run", "-c", m.conf], capture_output=True, text=True, timeout=30, check=False)
        t.check("not started: required, and no file named", done.returncode != 0 and "certificates" in done.stderr, done.stderr)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--manager", required=True)
    args = p.parse_args()
    t = Tally("identity")
    check_configuration(t, args.manager)
    with Manager(args.manager) as m:
        ireland, virginia, thief = (Region(m.dir, name) for name in ("eu-west-1", "us-east-1", "thief"))
        with open(m.path("certs.pem"), "w", encoding="ascii") as f:
            f.write("# Of a test.\n")
            for region in (ireland, virginia):
                f.write(f"# region: {region.name}\n{open(region.cert, encoding='ascii').read()}")
        with open(m.conf, "a", encoding="utf-8") as f:
            f.write(f"identity: {{certificates: {m.path('certs.pem')}, required: yes, accounts: [\"{ACCOUNT}\"], "
                    "regions: [eu-west-1, ap-south-1], max-age: 1h}\n")
        m.init().start()
        m.admin = m.token("--kind", "operator", "--role", "admin")
        token = m.token("--uses", "5")
        check_refused(t, m, token, ireland, virginia, thief)
        check_joins(t, m, token, ireland)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
