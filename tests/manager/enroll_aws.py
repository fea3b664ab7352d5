#!/usr/bin/env python3
"""`sekisho enroll` on an instance: token and CA kept at AWS, credentials of the instance, trying again until the manager
is there. The manager is played by the test; AWS is the strict fake, which verifies signatures, and moto, which verifies
them too and is not ours.

    enroll_aws.py --agent PATH
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from aws_fake import Fake
from bed import REGION, Moto, Tally, find_venv, free_port, wait_until
from fake_manager import FakeManager, openssl
from uplink_enroll import TOKEN, Host

OTHER = "ske_" + "b" * 52
HERE = "eu-central-1"  # where the fake's instance is


def fingerprint(fake):
    return openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", fake.ca.pem).decode().split("=")[1].strip()


class Instance(Host):
    """A host on EC2, and everything that was ever printed there."""

    def __init__(self, program, folder, fake, aws):
        super().__init__(program, folder, fake)
        self.aws, self.said = aws, ""

    def words(self, *words, endpoint=None):
        return ("--imds", self.aws.url, "--aws-endpoint", endpoint or self.aws.url, *words)

    def join(self, *words, env=None, ca=True, endpoint=None):
        env = {k: v for k, v in dict(os.environ, **(env or {})).items()
               if not k.startswith("AWS_") or k in (env or {})}
        keep, os.environ = os.environ, env
        try:
            r = self.enroll(*self.words(*words, endpoint=endpoint), token=(), ca=ca)
        finally:
            os.environ = keep
        self.said += r.stdout + r.stderr
        return r

    def token_sent(self):
        return self.fake.enrolled[-1].get("token") if self.fake.enrolled else None

    def fresh(self):
        self.fake.enrolled.clear()
        shutil.rmtree(self.state)
        os.makedirs(self.state, mode=0o700)


def kept(t, h, aws):
    aws.parameters.update({(HERE, "/sekisho/token"): TOKEN, ("us-east-1", "/sekisho/token"): OTHER,
                           (HERE, "/sekisho/empty"): " \n", (HERE, "/sekisho/long"): "x" * 4000})
    aws.secrets.update({(HERE, "plain"): TOKEN + "\n", (HERE, "json"): json.dumps({"token": TOKEN, "more": 1}),
                        (HERE, "none"): json.dumps({"password": "x"}), (HERE, "binary"): None})
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/sekisho/token"
    for what, words, token in (
            ("a parameter, with the role's credentials", ("--token-parameter", "/sekisho/token"), TOKEN),
            ("another region's", ("--token-parameter", "/sekisho/token", "--region", "us-east-1"), OTHER),
            ("by its ARN", ("--token-parameter", arn), OTHER),
            ("a secret", ("--token-secret", "plain"), TOKEN),
            ("a secret in JSON", ("--token-secret", "json"), TOKEN)):
        h.fresh()
        r = h.join(*words)
        t.check(f"kept: {what}", r.returncode == 0 and h.token_sent() == token, (r.stderr, h.token_sent()))
    t.check("kept: the calls were signed for their services", {"GetParameter", "GetSecretValue"} <=
            {e["op"] for e in aws.log if e["result"] == "ok"}, aws.log[-4:])
    h.fresh()
    for what, words, code, word in (
            ("no such parameter", ("--token-parameter", "/sekisho/nothing"), 1, "ParameterNotFound"),
            ("an empty parameter", ("--token-parameter", "/sekisho/empty"), 1, "no text"),
            ("too long a parameter", ("--token-parameter", "/sekisho/long"), 1, "too long"),
            ("no such secret", ("--token-secret", "nothing"), 1, "ResourceNotFoundException"),
            ("a secret that is no text", ("--token-secret", "binary"), 1, "no text"),
            ("JSON without a token", ("--token-secret", "none"), 1, "\"token\""),
            ("two of them", ("--token-secret", "plain", "--token-parameter", "x"), 2, "go together"),
            ("a region that is none", ("--token-parameter", "/sekisho/token", "--region", "../x"), 1, "region"),
            ("an endpoint that is none", ("--token-secret", "plain", "--aws-endpoint", "ftp://x"), 2, "--aws-endpoint")):
        r = h.join(*words)
        t.check(f"kept: {what}", r.returncode == code and word in r.stderr and not h.left() and not h.fake.enrolled,
                (r.returncode, r.stderr))
    aws.denied.add("GetParameter")
    r = h.join("--token-parameter", "/sekisho/token")
    t.check("kept: not allowed", r.returncode == 4 and "AccessDenied" in r.stderr and not h.left(), r.stderr)
    aws.denied.clear()
    aws.role = ""
    r = h.join("--token-parameter", "/sekisho/token")
    t.check("kept: an instance without a role", r.returncode == 4 and "no role" in r.stderr, r.stderr)
    r = h.join("--token-parameter", "/sekisho/token", env={
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + "/v2/credentials/x",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": aws.container_token})
    t.check("kept: credentials of a container", r.returncode == 0 and h.token_sent() == TOKEN, r.stderr)
    h.fresh()
    r = h.join("--token-parameter", "/sekisho/token", env=aws.environment())
    t.check("kept: credentials of the environment", r.returncode == 0, r.stderr)
    h.fresh()
    home = os.path.join(h.dir, "home/.aws")
    os.makedirs(home)
    with open(os.path.join(home, "credentials"), "w", encoding="ascii") as f:
        f.write("[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n" % tuple(aws.environment().values()))
    r = h.join("--token-parameter", "/sekisho/token", env={"HOME": os.path.dirname(home)})
    t.check("kept: somebody's files in a home folder are not looked at", r.returncode == 4, r.stderr)
    aws.role = "fake-role"


def authority(t, h, aws):
    sha = fingerprint(h.fake)
    aws.parameters.update({(HERE, "/ca/sha"): sha + "\n", (HERE, "/ca/pem"): h.fake.ca.text(), (HERE, "/ca/bad"): "hello",
                           (HERE, "/ca/other"): sha.replace("0", "1").replace("A", "B"), (HERE, "/ca/broken"):
                           "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"})
    for name, code, word in (("sha", 0, ""), ("pem", 0, ""), ("bad", 1, "64 hex"), ("broken", 1, "no certificate"),
                             ("other", 5, "fingerprint"), ("nothing", 1, "ParameterNotFound")):
        h.fresh()
        r = h.join("--token-parameter", "/sekisho/token", "--ca-parameter", "/ca/" + name, ca=False)
        t.check(f"CA: from a parameter: {name}", r.returncode == code and word in r.stderr and bool(h.fake.enrolled) ==
                (code == 0) and bool(h.left()) == (code == 0), (r.returncode, r.stderr))
    h.fresh()
    r = h.join("--token-parameter", "/sekisho/token", "--ca-parameter", "/ca/sha")
    t.check("CA: named twice", r.returncode == 2 and "go together" in r.stderr, r.stderr)


class Background(threading.Thread):
    """An enrolment that goes on while the test changes the world."""

    def __init__(self, h, *words, **more):
        super().__init__(daemon=True)
        self.h, self.words, self.more, self.done = h, words, more, None
        self.began = time.monotonic()
        self.start()

    def run(self):
        self.done = self.h.join(*self.words, **self.more)

    def result(self):
        self.join(120)
        return self.done


def again(t, h, aws, folder):
    token = ("--token-parameter", "/sekisho/token")
    h.fresh()
    late = FakeManager(os.path.join(folder, "late"), port=free_port(), ca=h.fake.ca)
    late.tokens[TOKEN] = None
    keep, h.fake = h.fake, late
    b = Background(h, *token, "--manager", f"https://127.0.0.1:{late.port}", "--retry", "60s")
    time.sleep(3)
    waits = b.is_alive()
    late.start()
    r = b.result()
    t.check("again: a manager that comes later", waits and r.returncode == 0 and "trying again in" in r.stderr,
            (waits, r.returncode, r.stderr))
    h.fresh()
    late.failing, late.retry_after = {"/v1/enroll": 503}, 2
    b = Background(h, *token, "--manager", late.url, "--retry", "60s")
    wait_until(lambda: sum("/v1/enroll" in str(q) for q in late.requests) > 1, 20)
    late.failing = {"/v1/enroll": 502}
    time.sleep(3)
    late.failing, late.retry_after = {}, None
    r = b.result()
    t.check("again: one that is busy, then a load balancer without one", r.returncode == 0 and "busy" in r.stderr,
            (r.returncode, r.stderr))
    late.stop()
    h.fake = keep
    h.fresh()
    aws.denied.add("GetParameter")
    b = Background(h, *token, "--retry", "60s")
    time.sleep(2)
    aws.denied.clear()
    r = b.result()
    t.check("again: rights that come later", r.returncode == 0 and "AccessDenied" in r.stderr, (r.returncode, r.stderr))
    for what, words in (("that must show its document", ("--identity",)), ("whose manager wants it", ())):
        h.fresh()
        aws.imds = "fail"
        with open(os.path.join(h.dir, "token"), "w", encoding="ascii") as f:
            f.write(TOKEN)
        b = Background(h, *words, "--retry", "60s", "--token-file", f.name)
        time.sleep(2)
        aws.imds = "ok"
        r = b.result()
        t.check(f"again: metadata that come later, of an instance {what}", r.returncode == 0 and "trying again" in r.stderr and
                h.fake.enrolled[-1].get("identity"), (r.returncode, r.stderr))
    h.fresh()
    h.fake.lose_enrolments = 2
    r = h.join(*token, "--retry", "60s")
    sent = [e["csr"] for e in h.fake.enrolled]
    t.check("again: answers that are lost: it is the same request that is made again", r.returncode == 0 and len(sent) == 3 and
            len(set(sent)) == 1, (r.returncode, r.stderr, len(sent)))
    h.fresh()
    began = time.monotonic()
    r = h.join(*token, "--manager", "https://127.0.0.1:1", "--retry", "3s")
    took = time.monotonic() - began
    t.check("again: nobody for all that time", r.returncode == 3 and "cannot be reached" in r.stderr and took >= 3 and
            not h.left(), (r.returncode, took, r.stderr))
    r = h.join(*token, "--manager", "https://127.0.0.1:1")
    t.check("again: without --retry once", r.returncode == 3 and "trying again" not in r.stderr, r.stderr)
    h.fake.tokens[TOKEN] = (403, "token_expired")
    before = len(h.fake.requests)
    r = h.join(*token, "--retry", "60s")
    t.check("again: not with a token that is refused", r.returncode == 4 and "expired" in r.stderr and
            len(h.fake.requests) == before + 1, (r.returncode, r.stderr))
    h.fake.tokens[TOKEN] = None
    r = h.join(*token, "--retry", "60s", ca=False)
    t.check("again: not with a certificate that is not trusted", r.returncode == 5 and "trying again" not in r.stderr,
            (r.returncode, r.stderr))
    r = h.join(*token, "--retry", "soon")
    t.check("again: for a time", r.returncode == 2 and "--retry" in r.stderr, r.stderr)


def watched(t, h):
    """What other users of the host may see of it while it runs."""
    h.fresh()
    words = [h.program, "enroll", "--manager", "https://127.0.0.1:1", "--set", f"guard.state-dir={h.state}", "--set",
             f"manager.state-dir={h.home}", *h.words("--token-parameter", "/sekisho/token", "--retry", "60s")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as p:
        line = p.stderr.readline()
        seen = "".join(open(f"/proc/{p.pid}/{n}", encoding="utf-8", errors="replace").read() for n in ("cmdline", "environ"))
        p.terminate()
        p.wait(10)
    t.check("watched: no token in its arguments or environment", "trying again" in line and TOKEN not in seen, line)


def images(t, h, aws):
    """A disk that was made from that of an instance which had enrolled."""
    h.fresh()
    token = ("--token-parameter", "/sekisho/token")
    r = h.join(*token, "--if-needed")
    first = h.fake.enrolled[-1]["agent"] if h.fake.enrolled else None
    t.check("images: needed", r.returncode == 0 and first, r.stderr)
    asked = len(aws.log)
    r = h.join(*token, "--if-needed")
    t.check("images: not needed twice, and nobody is asked for the token", r.returncode == 0 and first in r.stdout and
            len(h.fake.enrolled) == 1 and len(aws.log) == asked, (r.stdout, r.stderr))
    t.check("images: the instance is kept in mind", json.load(open(os.path.join(h.home, "agent.json"), encoding="ascii"))
            ["instance"] == aws.instance_id)
    keep, aws.instance_id = aws.instance_id, "i-0fedcba9876543210"
    r = h.join(*token)
    t.check("images: another instance's, unasked", r.returncode == 1 and "already" in r.stderr, r.stderr)
    r = h.join(*token, "--if-needed")
    t.check("images: another instance's disk enrols anew", r.returncode == 0 and len(h.fake.enrolled) == 2, r.stderr)
    aws.instance_id, aws.imds = keep, "fail"
    r = h.join("--if-needed", env={"SEKISHO_TOKEN": TOKEN})
    t.check("images: where the metadata is silent, what is there stays", r.returncode == 0 and len(h.fake.enrolled) == 2,
            r.stderr)
    aws.imds = "ok"
    r = h.join(*token, "--if-needed", "--again")
    t.check("images: one or the other", r.returncode == 2, r.stderr)


def judge(t, h):
    """moto, signatures on: a Parameter Store and a Secrets Manager that are not ours."""
    if not find_venv():
        t.skip("moto as a judge", "no moto in build/venv")
        return
    with Moto() as m:
        m.aws("ssm", "put-parameter", "--name", "/sekisho/token", "--type", "SecureString", "--value", TOKEN)
        m.aws("ssm", "put-parameter", "--name", "/sekisho/ca", "--type", "String", "--value", h.fake.ca.text())
        m.aws("secretsmanager", "create-secret", "--name", "sekisho", "--secret-string", json.dumps({"token": OTHER}))
        keys = {k: m.env[k] for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        for what, words, env, code, token in (
                ("parameters", ("--token-parameter", "/sekisho/token", "--ca-parameter", "/sekisho/ca"), {}, 0, TOKEN),
                ("a secret", ("--token-secret", "sekisho", "--ca-parameter", "/sekisho/ca"), {}, 0, OTHER),
                ("no such parameter", ("--token-parameter", "/nothing"), {}, 1, None),
                ("a wrong key", ("--token-parameter", "/sekisho/token"), {"AWS_SECRET_ACCESS_KEY": "wrong"}, 4, None)):
            h.fresh()
            r = h.join(*words, "--region", REGION, env=dict(keys, **env), ca=False, endpoint=m.endpoint)
            t.check(f"moto: {what}", r.returncode == code and h.token_sent() == token, (r.returncode, r.stderr))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    args = p.parse_args()
    t = Tally("enroll_aws")
    if os.geteuid() != 0 or not shutil.which("openssl"):
        t.skip("enroll_aws", "needs root and openssl")
        return t.end()
    folder = tempfile.mkdtemp(prefix="enroll-aws-")
    os.chmod(folder, 0o755)
    fake = FakeManager(os.path.join(folder, "m")).start()
    fake.tokens.update({TOKEN: None, OTHER: None})
    fake.identity = True
    try:
        with Fake() as aws:
            aws.identity_dir()
            h = Instance(os.path.abspath(args.agent), folder, fake, aws)
            kept(t, h, aws)
            authority(t, h, aws)
            again(t, h, aws, folder)
            watched(t, h)
            images(t, h, aws)
            judge(t, h)
            t.check("no token in anything that was printed", TOKEN not in h.said and OTHER not in h.said)
        t.check("nothing that the API does not know", not fake.wrong, fake.wrong)
    finally:
        fake.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
