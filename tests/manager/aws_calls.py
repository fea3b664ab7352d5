#!/usr/bin/env python3
"""Our AWS calls (through tests/unit/aws/aws_probe) against the strict fake, which botocore judges first.
Usage: aws_calls.py --probe PATH"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../live")]
VENV = os.path.join(os.environ.get("SEKISHO_VENV") or os.path.join(HERE, "../../build/venv"), "bin/python")
if os.path.exists(VENV) and "AWS_CALLS" not in os.environ:
    os.environ["AWS_CALLS"] = "1"
    os.execv(VENV, [VENV, "-B"] + sys.argv)

import aws_fake  # noqa: E402
from bed import Tally  # noqa: E402

R = "eu-central-1"


class Probe:
    def __init__(self, path, endpoint, env=None, imds=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        clean.update({"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}, **(env or {}))
        cmd = [path, "--endpoint", endpoint] + (["--imds", imds] if imds else [])
        if imds:
            clean.pop("AWS_EC2_METADATA_DISABLED")
        self.p = subprocess.Popen(cmd, env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True)

    def __call__(self, do, **q):
        self.p.stdin.write(json.dumps(dict(q, do=do)) + "\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.stdin.close()
        self.err = self.p.stderr.read()
        self.p.wait(20)
        self.p.stdout.close()
        self.p.stderr.close()


def judge_the_fake(t):
    """Is the fake an AWS to those who know it?"""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import ClientError
    except ImportError:
        t.skip("botocore talks to the fake", "no botocore in build/venv")
        return
    with aws_fake.Fake(write_rate=0, read_rate=0, error_shapes=[0, 1, 3]) as f:
        c = dict(region_name=R, endpoint_url=f.url, aws_access_key_id=aws_fake.ACCESS_KEY,
                 aws_secret_access_key=aws_fake.SECRET_KEY, config=Config(retries={"total_max_attempts": 1}))
        w = boto3.client("wafv2", **c)
        s = w.create_ip_set(Name="a", Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=["192.0.2.0/24"])["Summary"]
        got = w.get_ip_set(Name="a", Scope="REGIONAL", Id=s["Id"])
        t.check("botocore's signature is right to the fake", got["IPSet"]["Addresses"] == ["192.0.2.0/24"])

        def error(**more):
            args = dict(Name="a", Scope="REGIONAL", Id=s["Id"], LockToken=got["LockToken"], Addresses=[])
            try:
                w.update_ip_set(**dict(args, **more))
            except ClientError as e:
                return e.response["Error"]["Code"]
            return "ok"
        for code, more in [("WAFOptimisticLockException", {"LockToken": "00000000-0000-0000-0000-000000000000"}),
                           ("WAFInvalidParameterException", {"Addresses": ["192.0.2.1/24"]}),
                           ("WAFLimitsExceededException", {"Addresses": ["10.%d.%d.0/24" % (i >> 8, i & 255)
                                                                         for i in range(10001)]}),
                           ("WAFNonexistentItemException", {"Name": "b"}), ("ok", {})]:
            codes = {error(**more) for _ in range(1 if code == "ok" else 8)}
            t.check(f"botocore reads {code} from the fake, in all shapes", codes == {code}, codes)
        wrong = boto3.client("wafv2", **dict(c, aws_secret_access_key="wrong"))
        try:
            wrong.list_ip_sets(Scope="REGIONAL")
            code = "ok"
        except ClientError as e:
            code = e.response["Error"]["Code"]
        t.check("a wrong secret is refused", code == "InvalidSignatureException", code)
        sns = boto3.client("sns", **c)
        arn = sns.create_topic(Name="x")["TopicArn"]
        sns.publish(TopicArn=arn, Message="m", Subject="s")
        t.check("botocore publishes", f.published[0]["Message"] == "m")


def sets(t, args):
    with aws_fake.Fake(write_rate=0, read_rate=0) as f, Probe(args.probe, f.url, f.environment()) as p:
        made = p("create", region=R, name="s4", description="by sekisho")
        t.check("create", made["error"] == "ok" and aws_fake.UUID.fullmatch(made["id"]), made)
        t.check("create the same again: exists", p("create", region=R, name="s4")["error"] == "exists")
        key = dict(region=R, name="s4", id=made["id"])
        up = p("update", lock=made["lock"], description="by sekisho", addresses=["192.0.2.1", "198.51.100.0/24"], **key)
        t.check("update gives the next token", up["error"] == "ok" and up["lock"] not in ("", made["lock"]), up)
        t.check("the set has it", f.contents("s4") == {"192.0.2.1/32", "198.51.100.0/24"}, f.contents("s4"))
        again = p("update", lock=up["lock"], addresses=["192.0.2.7"], description="by sekisho", **key)
        t.check("tokens are chained", again["error"] == "ok", again)
        t.check("old token: locked", p("update", lock=up["lock"], addresses=[], **key)["error"] == "locked")
        got = p("get", **key)
        t.check("get", (got["addresses"], got["lock"], got["description"], got["v6"]) == (
            ["192.0.2.7"], again["lock"], "by sekisho", False), got)
        t.check("get of another id: missing", p("get", region=R, name="s4", id="0" * 8 + "-0000" * 3 + "-" + "0" * 12)[
            "error"] == "missing")
        bad = p("update", lock="x", addresses=[], **key)
        t.check("malformed token: invalid", bad["error"] == "invalid" and bad["code"] == "ValidationException", bad)
        t.check("other family: refused here", p("update", lock=got["lock"], addresses=["2001:db8::1"], **key)[
            "error"] == "invalid")
        t.check("/0: refused here", p("update", lock=got["lock"], addresses=["0.0.0.0/0"], **key)["error"] == "invalid")
        many = ["10.%d.%d.%d" % (i >> 16, i >> 8 & 255, i & 255) for i in range(10001)]
        t.check("10,001: refused here", p("update", lock=got["lock"], addresses=many, **key)["error"] == "limit")
        full = p("update", lock=got["lock"], addresses=many[:10000], **key)
        t.check("10,000 are written and read", full["error"] == "ok" and len(p("get", **key)["addresses"]) == 10000)
    t.check("no secret and no token is in the log", aws_fake.SECRET_KEY not in p.err, p.err)


def sets_v6(t, args):
    with aws_fake.Fake(write_rate=0, read_rate=0) as f, Probe(args.probe, f.url, f.environment()) as p:
        s = p("create", name="s6", scope="CLOUDFRONT", v6=True, region="ap-south-1")
        t.check("CLOUDFRONT goes to us-east-1", s["error"] == "ok" and f.by_name("s6").region == "us-east-1", s)
        key = dict(name="s6", id=s["id"], scope="CLOUDFRONT", v6=True)
        want = ["2001:db8::/32", "2001:db9::1", "::ffff:192.0.2.1"]
        up = p("update", lock=s["lock"], addresses=want, **key)
        t.check("IPv6 is written", up["error"] == "ok", up)
        got = p("get", **key)
        t.check("and read back from its long form", got["v6"] and set(got["addresses"]) == {
            "192.0.2.1", "2001:db8::/32", "2001:db9::1"}, got)


def find(t, args):
    with aws_fake.Fake(write_rate=0, read_rate=0) as f, Probe(args.probe, f.url, f.environment()) as p:
        t.check("find in an empty account: missing", p("find", region=R, name="x")["error"] == "missing")
        for i in range(100):
            f.add_set("set-%03d" % i)
        f.add_set("set-050", scope="CLOUDFRONT", region="us-east-1")
        t.check("find", p("find", region=R, name="set-050")["id"] == f.by_name("set-050", "REGIONAL").id)
        t.check("find the last", p("find", region=R, name="set-099")["error"] == "ok")
        t.check("one set too many: limit", p("create", region=R, name="more")["error"] == "limit")
        t.check("find what is not there", p("find", region=R, name="set-100")["error"] == "missing")
        for i in range(100, 250):  # raised by AWS on request
            f.add_set("set-%03d" % i)
        t.check("find on the third page", p("find", region=R, name="set-249")["error"] == "ok")
        t.check("behind all pages: missing", p("find", region=R, name="set-999")["error"] == "missing")


def errors(t, args):
    with aws_fake.Fake(write_rate=0, read_rate=0, hang_s=5) as f, Probe(args.probe, f.url, f.environment()) as p:
        s = p("create", region=R, name="e")
        key = dict(region=R, name="e", id=s["id"])
        f.fail_rate = 1
        for kind, want in [("500", "retry"), ("503", "retry"), ("502html", "retry"), ("throttle", "throttled"),
                           ("reset", "retry"), ("reset_after", "retry"), ("500_after", "retry"), ("truncate", "retry"),
                           ("hang", "retry")]:
            f.fail_kinds = [kind]
            got = {p("get", **key)["error"] for _ in range(1 if kind == "hang" else 6)}
            t.check(f"{kind}: {want}", got == {want}, got)
        f.fail_kinds = ["500_after"]
        p("update", lock=s["lock"], addresses=["192.0.2.1"], **key)
        t.check("a call that failed may have been carried out", f.contents("e") == {"192.0.2.1/32"})
        f.fail_rate = 0
        got = p("get", **key)
        t.check("then all is well", got["addresses"] == ["192.0.2.1"], got)
    with Probe(args.probe, f.url, f.environment()) as p:
        got = p("get", **key)
        t.check("nobody there: retry", got["error"] == "retry" and got["status"] == 0 and got["message"], got)


def rates(t, args):
    with aws_fake.Fake() as f, Probe(args.probe, f.url, f.environment()) as p:
        s = p("create", region=R, name="r")
        key = dict(region=R, name="r", id=s["id"], addresses=[])
        t.check("second write within a second: throttled", p("update", lock=s["lock"], **key)["error"] == "throttled")
        time.sleep(1)
        up = p("update", lock=s["lock"], **key)
        t.check("a second later: ok", up["error"] == "ok", up)
        got = [p("get", **key)["error"] for _ in range(7)]
        t.check("five reads a second", got == ["ok"] * 5 + ["throttled"] * 2, got)
        f.propagation_s = 100
        time.sleep(1)
        s = p("create", region=R, name="new")
        time.sleep(1)
        got = p("update", region=R, name="new", id=s["id"], lock=s["lock"], addresses=[])
        t.check("a set that was just made: unavailable", got["error"] == "unavailable", got)


def clock(t, args):
    for offset in (3600, -86400 * 40):
        with aws_fake.Fake(clock_offset_s=offset, write_rate=0, read_rate=0) as f, \
                Probe(args.probe, f.url, f.environment()) as p:
            got = [p("find", region=R, name="x")["error"] for _ in range(3)]
            t.check(f"AWS's clock is {offset} s off: skew, then right", got == ["clock skew", "missing", "missing"], got)
        t.check("and it is logged", "clock is wrong" in p.err, p.err)
    with aws_fake.Fake(clock_offset_s=200) as f, Probe(args.probe, f.url, f.environment()) as p:
        t.check("200 s do not matter", p("find", region=R, name="x")["error"] == "missing")


def refused(t, args):
    env = {"AWS_ACCESS_KEY_ID": aws_fake.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": "wrong"}
    with aws_fake.Fake() as f:
        with Probe(args.probe, f.url, env) as p:
            got = p("find", region=R, name="x")
            t.check("wrong secret: auth", (got["error"], got["code"]) == ("auth", "InvalidSignatureException"), got)
            got = p("publish", region=R, form="Action=Publish")
            t.check("the same in XML", (got["error"], got["code"]) == ("auth", "SignatureDoesNotMatch"), got)
        with Probe(args.probe, f.url, dict(env, AWS_ACCESS_KEY_ID="AKIAUNKNOWN")) as p:
            got = p("find", region=R, name="x")
            t.check("unknown key: auth", (got["error"], got["code"]) == ("auth", "UnrecognizedClientException"), got)
        with Probe(args.probe, f.url, {}) as p:
            got = p("find", region=R, name="x")
            t.check("no credentials: auth, and why", got["error"] == "auth" and "no credentials" in got["message"], got)


def sns(t, args):
    arn = "arn:aws:sns:%s:%s:alerts" % (R, aws_fake.ACCOUNT)

    def form(**q):
        return urllib.parse.urlencode(dict({"Action": "Publish", "Version": "2010-03-31", "TopicArn": arn}, **q),
                                      quote_via=urllib.parse.quote)
    with aws_fake.Fake() as f, Probe(args.probe, f.url, f.environment()) as p:
        got = p("publish", region=R, form=form(Message="m"))
        t.check("no such topic: missing", (got["error"], got["message"]) == ("missing", "Topic does not exist"), got)
        f.topics.add(arn)
        got = p("publish", region=R, form=form(Message="m é&=+ \n", Subject="Sub ject"))
        t.check("publish", got["error"] == "ok" and f.published[0]["Message"] == "m é&=+ \n", got)
        for what, q in [("a line break in the subject", {"Message": "m", "Subject": "a\nb"}),
                        ("a subject of 101", {"Message": "m", "Subject": "a" * 101}),
                        ("more than 256 KiB", {"Message": "m" * 262145}), ("nothing", {"Message": ""})]:
            t.check(f"{what}: invalid", p("publish", region=R, form=form(**q))["error"] == "invalid")
        t.check("256 KiB: ok", p("publish", region=R, form=form(Message="m" * 262144))["error"] == "ok")


def imds(t, args):
    with aws_fake.Fake(write_rate=0, read_rate=0) as f, Probe(args.probe, f.url, imds=f.url) as p:
        c = p("creds")
        t.check("credentials of the role, IMDSv2", c["source"] == "imds" and c["token"], c)
        t.check("they sign", p("find", region=R, name="x")["error"] == "missing")
        n = f.requests
        p("creds")
        t.check("they are kept", f.requests == n)
        t.check("region of the instance", p("region") == {"rc": 0, "region": "eu-central-1"})
    with aws_fake.Fake(role="") as f, Probe(args.probe, f.url, imds=f.url) as p:
        c = p("creds")
        t.check("no role: none, and why", c["rc"] == -5 and "no role" in c["why"], c)
    with aws_fake.Fake(imds="drop", hang_s=.2) as f, Probe(args.probe, f.url, imds=f.url) as p:
        c = p("creds")
        t.check("a hop too far: none, and why", c["rc"] == -5 and "metadata" in c["why"], c)
    with aws_fake.Fake() as f, Probe(args.probe, f.url, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f.url + "/",
                                                        "AWS_EC2_METADATA_DISABLED": "false"}) as p:
        t.check("endpoint of the environment", p("creds")["source"] == "imds")


def imds_refresh(t, args):
    with aws_fake.Fake(role_ttl_s=4, role_rotate_s=0, read_rate=0) as f, Probe(args.probe, f.url, imds=f.url) as p:
        first = p("creds")["access_key"]
        f.imds = "fail"
        time.sleep(1.2)
        t.check("IMDS fails: the old ones are kept", p("creds")["access_key"] == first)
        time.sleep(3.2)
        c = p("creds")
        t.check("until they are over", c["rc"] != 0 and c["access_key"] == "", c)
        t.check("then: auth", p("find", region=R, name="x")["error"] == "auth")
        f.imds = "ok"
        time.sleep(1.1)
        c = p("creds")
        t.check("IMDS is back: new ones", c["access_key"] not in ("", first), c)
        f.role_ttl_s = 21600
        with f.lock:
            f.keys[c["access_key"]].expires = f.now() - 1
        got = [p("find", region=R, name="x")["error"]]
        time.sleep(1.1)
        got.append(p("find", region=R, name="x")["error"])
        t.check("the service says expired: asked again", got == ["auth", "missing"], got)


def container(t, args):
    with aws_fake.Fake() as f, tempfile.TemporaryDirectory(prefix="aws_calls-") as d:
        full = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f.url + "/v2/credentials/1"}
        with Probe(args.probe, f.url, dict(full, AWS_CONTAINER_AUTHORIZATION_TOKEN="container-token")) as p:
            c = p("creds")
            t.check("container credentials", c["source"] == "container", c)
            t.check("they sign", p("find", region=R, name="x")["error"] == "missing")
        path = os.path.join(d, "token")
        with open(path, "w", encoding="ascii") as out:
            out.write("container-token\n")
        with Probe(args.probe, f.url, dict(full, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=path)) as p:
            t.check("token from a file", p("creds")["source"] == "container")
        with Probe(args.probe, f.url, dict(full, AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong"), imds=f.url) as p:
            c = p("creds")
            t.check("wrong token: no other source is asked", c["rc"] != 0 and "401" in c["why"], c)


def identity(t, args):
    del args
    with aws_fake.Fake() as f, tempfile.TemporaryDirectory(prefix="aws_calls-") as d:
        text = f.rsa2048(f.instance_id)
        with open(os.path.join(d, "p7"), "w", encoding="ascii") as out:
            out.write("-----BEGIN PKCS7-----\n%s\n-----END PKCS7-----\n" % text)
        got = subprocess.run(["openssl", "smime", "-verify", "-in", os.path.join(d, "p7"), "-inform", "PEM", "-noverify",
                              "-nointern", "-certfile", os.path.join(f.dir, "cert.pem")], capture_output=True)
        t.check("the fake's identity document verifies", got.returncode == 0 and json.loads(got.stdout)[
            "instanceId"] == f.instance_id, got.stderr)
        made = f.dir
    t.check("and nothing of it stays", not os.path.exists(made))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--probe", required=True)
    args = ap.parse_args()
    t = Tally("aws_calls")
    judge_the_fake(t)
    for part in (sets, sets_v6, find, errors, rates, clock, refused, sns, imds, imds_refresh, container, identity):
        part(t, args)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
