#!/usr/bin/env python3
"""Our wafv2 and SNS calls against moto_server with its signature checks on, read back by botocore and awscli: judges
that are not ours. Usage: aws_moto.py --probe PATH. Without moto in build/venv: skipped."""
import argparse
import json
import os
import socket
import subprocess
import sys
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../live")]
VENV = os.path.join(os.environ.get("SEKISHO_VENV") or os.path.join(HERE, "../../build/venv"), "bin")
if os.path.exists(os.path.join(VENV, "python")) and "AWS_MOTO" not in os.environ:
    os.environ["AWS_MOTO"] = "1"
    os.execv(os.path.join(VENV, "python"), [os.path.join(VENV, "python"), "-B"] + sys.argv)

from aws_calls import Probe  # noqa: E402
from bed import Tally, wait_until  # noqa: E402

R = "us-east-1"
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def is_up(port):
    try:
        socket.create_connection(("127.0.0.1", port), .5).close()
        return True
    except OSError:
        return False


class Moto:
    """The first four calls are free: they make a user, its rights, and its key, and a role."""

    def __enter__(self):
        self.port = free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.p = subprocess.Popen([os.path.join(VENV, "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)],
                                  env=dict(clean, INITIAL_NO_AUTH_ACTION_COUNT="4"), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        if wait_until(lambda: is_up(self.port), 60) is None:
            raise RuntimeError("moto_server does not start")
        return self

    def __exit__(self, *_):
        self.p.terminate()
        self.p.wait(20)

    def client(self, service, key):
        import boto3
        from botocore.config import Config
        return boto3.client(service, region_name=R, endpoint_url=self.url, aws_access_key_id=key["AccessKeyId"],
                            aws_secret_access_key=key["SecretAccessKey"], aws_session_token=key.get("SessionToken"),
                            config=Config(retries={"total_max_attempts": 1}))

    def make_user(self):
        iam = self.client("iam", {"AccessKeyId": "x", "SecretAccessKey": "x"})
        iam.create_user(UserName="writer")
        key = iam.create_access_key(UserName="writer")["AccessKey"]
        iam.put_user_policy(UserName="writer", PolicyName="all", PolicyDocument=json.dumps(POLICY))
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                        "Principal": {"AWS": "*"}}]}
        iam.create_role(RoleName="writer", AssumeRolePolicyDocument=json.dumps(trust))
        self.client("iam", key).put_role_policy(RoleName="writer", PolicyName="all", PolicyDocument=json.dumps(POLICY))
        return key


def env_of(key):
    e = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    if "SessionToken" in key:
        e["AWS_SESSION_TOKEN"] = key["SessionToken"]
    return e


def awscli(moto, key, *args):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    out = subprocess.run([os.path.join(VENV, "aws"), "--endpoint-url", moto.url, "--region", R, "--output", "json", *args],
                         env=dict(clean, **env_of(key)), capture_output=True, text=True, timeout=60)
    return json.loads(out.stdout) if out.returncode == 0 else out.stderr


def wafv2(t, args, moto, key, name, what):
    with Probe(args.probe, moto.url, env_of(key)) as p:
        made = p("create", region=R, name=name, description="made by a test")
        t.check(f"create, {what}", made["error"] == "ok", made)
        ident = dict(region=R, name=name, id=made["id"])
        many = ["198.51.100.%d" % i for i in range(256)] + ["203.0.113.0/24"]
        up = p("update", lock=made["lock"], addresses=many, description="made by a test", **ident)
        t.check(f"update, {what}", up["error"] == "ok", up)
        t.check("a stale token: locked", p("update", lock=made["lock"], addresses=[], **ident)["error"] == "locked")
        got = p("get", **ident)
        t.check("get", got["lock"] == up["lock"] and set(got["addresses"]) == set(many), got["error"])
        t.check("find", p("find", region=R, name=name)["id"] == made["id"])
        t.check("not there: missing", p("find", region=R, name="nothing")["error"] == "missing")
    want = {a if "/" in a else a + "/32" for a in many}
    got = moto.client("wafv2", key).get_ip_set(Name=name, Scope="REGIONAL", Id=made["id"])["IPSet"]
    t.check("botocore reads the same", set(got["Addresses"]) == want and got["Description"] == "made by a test", got)
    got = awscli(moto, key, "wafv2", "get-ip-set", "--name", name, "--scope", "REGIONAL", "--id", made["id"])
    t.check("awscli reads the same", isinstance(got, dict) and set(got["IPSet"]["Addresses"]) == want, got)


def strangers(t, args, moto, key):
    for what, wrong in [("wrong secret", dict(key, SecretAccessKey="wrong")), ("unknown key", dict(key, AccessKeyId="AKIA")),
                        ("wrong token", dict(key, SessionToken="wrong"))]:
        with Probe(args.probe, moto.url, env_of(wrong)) as p:
            got = p("find", region=R, name="x")
            t.check(f"{what}: refused", got["error"] == "auth" and got["code"], got)


def sns(t, args, moto, key):
    sns_c, sqs = moto.client("sns", key), moto.client("sqs", key)
    arn = sns_c.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="q")["QueueUrl"]
    sns_c.subscribe(TopicArn=arn, Protocol="sqs", Endpoint="arn:aws:sqs:%s:123456789012:q" % R)
    form = urllib.parse.urlencode({"Action": "Publish", "Version": "2010-03-31", "TopicArn": arn, "Subject": "two words",
                                   "Message": '[{"a": "é +&=%"}]'})  # moto signs what it would write: '+' for a space
    with Probe(args.probe, moto.url, env_of(key)) as p:
        got = p("publish", region=R, form=form)
        t.check("publish to SNS", got["error"] == "ok", got)
        got = p("publish", region=R, form=form.replace("alerts", "nobody"))
        t.check("no such topic: missing", got["error"] == "missing", got)
    m = sqs.receive_message(QueueUrl=queue).get("Messages", [])
    t.check("SQS has it", m and json.loads(m[0]["Body"])["Message"] == '[{"a": "é +&=%"}]', m)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--probe", required=True)
    args = ap.parse_args()
    t = Tally("aws_moto")
    try:
        import boto3  # noqa: F401
        import moto  # noqa: F401
    except ImportError:
        t.skip("moto as a judge", "no moto in build/venv")
        return t.end() or 77
    with Moto() as m:
        key = m.make_user()
        wafv2(t, args, m, key, "long", "long-term key")
        role = m.client("sts", key).assume_role(RoleArn="arn:aws:iam::123456789012:role/writer", RoleSessionName="test")
        wafv2(t, args, m, role["Credentials"], "session", "session of a role")
        strangers(t, args, m, key)
        sns(t, args, m, key)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
