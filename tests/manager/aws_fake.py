#!/usr/bin/env python3
"""A strict AWS on one port of loopback: WAFv2 (IP sets), SNS, IMDSv2, a container's credentials endpoint; and what
aws_kept.py has: Parameter Store, Secrets Manager, Auto Scaling, EC2.

Stricter than moto where the real services are: Signature Version 4 with five minutes of clock, every limit and pattern
of the API model, one write and five reads a second for account and region, lock tokens, host bits, /0, families. It
answers errors in all the shapes that are documented, fails as often as it is told, and has a rival: somebody else who
changes the same sets.

    python3 aws_fake.py --port 0        prints the port, runs until its standard input ends
    with Fake() as f: ... f.url         in a test

Control, as attributes of Fake or over HTTP (JSON): GET, POST /_fake/settings (keys: see SETTINGS), GET /_fake/log,
/_fake/sets, /_fake/history, /_fake/published, POST /_fake/rival {"set": NAME, "interval": 1} (interval 0 ends it),
POST /_fake/put {"set", "addresses"} (somebody adds), GET /_fake/identity-cert (PEM).

Not known of AWS, and chosen: addresses that occur twice in a call are refused; which shape an error takes is random.
"""
import argparse
import base64
import calendar
import collections
import hashlib
import hmac
import http.server
import ipaddress
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from xml.sax.saxutils import escape

from aws_kept import Kept

ACCOUNT = "123456789012"
ACCESS_KEY, SECRET_KEY = "AKIAFAKEFAKEFAKE0000", "fake/secret+key/fake/secret+key/fake+key"
SET_LIMIT = 10000
SETS_LIMIT = 100
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")

SETTINGS = {
    "write_rate": 1.0,         # accepted Create/Update/Delete a second, account and region; 0: any number
    "read_rate": 5.0,          # Get/List
    "slack": 0.02,             # seconds by which a call may come early: the network is not a clock
    "fail_rate": 0.0,          # share of the calls of services that fail in one of the ways of fail_kinds
    "fail_kinds": ["500", "503", "502html", "throttle", "reset", "reset_after", "500_after", "hang", "truncate"],
    "hang_s": 2.0,             # how long a call that hangs is held before its connection is closed
    "latency_s": 0.0,
    "propagation_s": 0.0,      # after Create: WAFUnavailableEntityException; what is in force at the edge comes so late
    "clock_offset_s": 0.0,     # AWS's clock less ours
    "verify": True,            # signatures
    "error_shapes": [0, 1, 2, 3],  # type in the body, with a namespace, in the header only, in both
    "region": "eu-central-1",  # of the instance
    "role": "fake-role",       # "": the instance has none
    "role_ttl_s": 21600.0,
    "role_rotate_s": 1200.0,   # new credentials are there so long before the old ones end
    "imds": "ok",              # "fail": 500, "drop": no answer (a hop too far)
    "container_token": "container-token",
    "container_ttl_s": 3600.0,
    "instance_id": "i-0123456789abcdef0",
    "account": ACCOUNT,
    "pending_s": -60.0,        # pendingTime of the identity document, from now
}


class ApiError(Exception):
    def __init__(self, status, code, message="", **fields):
        super().__init__(code)
        self.status, self.code, self.message, self.fields = status, code, message, fields


class Hangup(Exception):
    """reset: RST; truncate: half of an answer."""


def invalid(field, parameter, reason):
    return ApiError(400, "WAFInvalidParameterException",
                    "Error reason: %s, field: %s, parameter: %s" % (reason, field, parameter),
                    Field=field, Parameter=parameter, Reason=reason)


# ---- Signature Version 4, from its specification ----

def hmac256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret, date, region, service, method, target, headers, signed, body):
    path, _, query = target.partition("?")
    pairs = sorted(tuple((p + ("" if "=" in p else "=")).split("=", 1)) for p in query.split("&") if p)
    canonical = "\n".join(
        [method, urllib.parse.quote(path, safe="/~"), "&".join(k + "=" + v for k, v in pairs)] +
        [n + ":" + " ".join(headers[n].split()) for n in signed] + ["", ";".join(signed),
                                                                     hashlib.sha256(body).hexdigest()])
    scope = "/".join([date[:8], region, service, "aws4_request"])
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac256(key, part)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/ ,]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?"
                           r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})")


class Key:
    def __init__(self, secret, token="", expires=None):
        self.secret, self.token, self.expires = secret, token, expires


class Set:
    def __init__(self, scope, region, name, v6, description):
        self.scope, self.region, self.name, self.v6, self.description = scope, region, name, v6, description
        self.id, self.lock = str(uuid.uuid4()), str(uuid.uuid4())
        self.created = time.time()
        self.addresses = {}  # ip_network: who put it there
        self.history = collections.defaultdict(list)  # ip_network: [[from, until or None, who]], wall seconds
        where = "us-east-1:%s:global" if scope == "CLOUDFRONT" else region + ":%s:regional"
        self.arn = "arn:aws:wafv2:%s/ipset/%s/%s" % (where % ACCOUNT, name, self.id)

    def replace(self, new, who):
        """new: networks. Returns (added, removed)."""
        now, old = time.time(), self.addresses
        added, removed = new - old.keys(), old.keys() - new
        for a in removed:
            self.history[a][-1][1] = now
            del old[a]
        for a in added:
            self.history[a].append([now, None, who])
            old[a] = who
        self.lock = str(uuid.uuid4())
        return added, removed

    def texts(self):
        out = [a.exploded for a in self.addresses]
        random.shuffle(out)
        return out


class Rival:
    """Somebody else in the account: adds and removes addresses of its own in one set, and nothing else."""

    def __init__(self, fake, name, interval, most=40):
        self.fake, self.name, self.interval, self.most = fake, name, interval, most
        self.mine, self.changes, self.serial = [], 0, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def address(self, v6):
        self.serial += 1
        if v6:
            return ipaddress.ip_network(int(ipaddress.ip_address("2001:db8:ffff::")) + self.serial)
        return ipaddress.ip_network(int(ipaddress.ip_address("100.64.0.0")) + self.serial)

    def change(self):
        with self.fake.lock:
            s = self.fake.by_name(self.name)
            if s is None:
                return
            new = set(s.addresses)
            if len(self.mine) >= self.most or (self.mine and random.random() < .4):
                new.discard(self.mine.pop(random.randrange(len(self.mine))))
            if len(self.mine) < self.most:
                self.mine.append(self.address(s.v6))
                new.add(self.mine[-1])
            s.replace(new, "rival")
            self.changes += 1
            self.fake.note("UpdateIPSet", s.region, s.name, "ok", len(new), who="rival")

    def run(self):
        while not self.ended.wait(self.interval):
            self.change()

    def end(self):
        self.ended.set()
        self.thread.join()


class Fake(Kept):
    def __init__(self, host="127.0.0.1", port=0, **settings):
        self.__dict__.update(json.loads(json.dumps(SETTINGS)))
        for k in settings:
            if k not in SETTINGS:
                raise ValueError(k)
        self.__dict__.update(settings)
        self.lock = threading.RLock()
        self.keys = {ACCESS_KEY: Key(SECRET_KEY)}
        self.all_sets, self.topics, self.published, self.log = [], set(), [], []
        self.taken = collections.defaultdict(list)  # (region, kind): times of accepted calls
        self.imds_tokens, self.role_creds, self.rivals = {}, None, {}
        self.requests = 0  # of IMDS
        self.dir = None
        self.begin_kept()
        self.server = Server((host, port), Handler)
        self.server.fake = self
        self.port = self.server.server_address[1]
        self.url = "http://%s:%d" % (host, self.port)

    # life

    def start(self):
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": .05}, daemon=True)
        self.thread.start()
        return self

    def stop(self):
        for r in list(self.rivals.values()):
            r.end()
        self.server.shutdown()
        self.server.server_close()
        self.end_kept()
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def instance(self, instance_id, tags=None):
        """One more instance, whose metadata has an address of its own (Instance.url)."""
        def make(i):
            server = Server((self.server.server_address[0], 0), Handler)
            server.fake, server.instance = self, i
            return server
        return self.add_instance(instance_id, tags, make)

    def now(self):
        return time.time() + self.clock_offset_s

    def environment(self):
        """What a client needs."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    # what has happened

    def note(self, op, region, name, result, n=0, who="client", **more):
        with self.lock:
            self.log.append(dict(t=time.monotonic(), wall=time.time(), op=op, region=region, set=name, result=result, n=n,
                                 who=who, write=op.startswith(("Create", "Update", "Delete")), **more))

    def writes(self, who="client"):
        with self.lock:
            return [e for e in self.log if e["write"] and e["who"] == who]

    def closest_writes(self, who="client"):
        """Seconds between the two writes that came closest: all that were sent count, also those that failed."""
        t = sorted((e["region"], e["t"]) for e in self.writes(who))
        return min((b[1] - a[1] for a, b in zip(t, t[1:]) if a[0] == b[0]), default=float("inf"))

    def by_name(self, name, scope=None):
        return next((s for s in self.all_sets if s.name == name and scope in (None, s.scope)), None)

    def contents(self, name, who=None):
        with self.lock:
            s = self.by_name(name)
            return {str(a) for a, w in s.addresses.items() if who in (None, w)} if s else set()

    def history(self, name):
        with self.lock:
            s = self.by_name(name)
            return {str(a): [list(x) for x in h] for a, h in s.history.items()} if s else {}

    def put(self, name, addresses, who="other"):
        with self.lock:
            s = self.by_name(name)
            s.replace(set(s.addresses) | {ipaddress.ip_network(a) for a in addresses}, who)

    def add_set(self, name, scope="REGIONAL", region="eu-central-1", v6=False, addresses=()):
        with self.lock:
            self.all_sets.append(Set(scope, region, name, v6, ""))
            self.put(name, addresses)
            return self.all_sets[-1]

    def rival(self, name, interval):
        """Begins, or with interval 0 ends. The rival that ended is returned: its addresses stay."""
        old = self.rivals.pop(name, None)
        if old:
            old.end()
        if interval:
            self.rivals[name] = Rival(self, name, interval)
        return old

    # signatures

    def verify_request(self, method, target, headers, body):
        """(region, service), or ApiError with the codes of JSON services."""
        auth = headers.get("authorization")
        if not auth:
            raise ApiError(400, "MissingAuthenticationTokenException", "Missing Authentication Token")
        m = AUTHORIZATION.fullmatch(auth)
        if not m:
            raise ApiError(400, "IncompleteSignatureException", "Authorization header is malformed")
        access, day, region, service, signed, given = m.groups()
        key, signed, date = self.keys.get(access), signed.split(";"), headers.get("x-amz-date", "")
        if key is None:
            raise ApiError(400, "UnrecognizedClientException", "The security token included in the request is invalid.")
        must = {"host", "x-amz-date"} | {h for h in headers if h.startswith("x-amz-") or h == "content-type"}
        if must - set(signed) or signed != sorted(set(signed)) or not set(signed) <= set(headers):
            raise ApiError(400, "InvalidSignatureException", "These must be signed: " + " ".join(sorted(must)))
        if signature(key.secret, date, region, service, method, target, headers, signed, body) != given:
            raise ApiError(400, "InvalidSignatureException", "The request signature we calculated does not match the "
                           "signature you provided.")
        self.verify_time(key, date, day)
        if headers.get("x-amz-security-token", "") != key.token:
            raise ApiError(400, "UnrecognizedClientException", "The security token included in the request is invalid.")
        return region, service

    def verify_time(self, key, date, day):
        try:
            then = time.strptime(date, "%Y%m%dT%H%M%SZ")
        except ValueError:
            raise ApiError(400, "IncompleteSignatureException", "x-amz-date") from None
        off = calendar.timegm(then) - self.now()
        if abs(off) > 300:
            raise ApiError(400, "InvalidSignatureException", "Signature %s: %s" % (
                "expired" if off < 0 else "not yet current", date))
        if day != date[:8]:
            raise ApiError(400, "InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD")
        if key.expires and self.now() > key.expires:
            raise ApiError(400, "ExpiredTokenException", "The security token included in the request is expired")

    # limits

    def take(self, region, kind):
        rate = self.write_rate if kind == "write" else self.read_rate
        if not rate:
            return
        with self.lock:
            now, window = time.monotonic(), self.taken[region, kind]
            while window and now - window[0] >= 1 - self.slack:
                window.pop(0)
            if len(window) >= rate:
                raise ApiError(400, "ThrottlingException", "Rate exceeded")
            window.append(now)

    # WAFv2

    def wafv2(self, op, region, q):
        call = {"CreateIPSet": self.create, "GetIPSet": self.get, "UpdateIPSet": self.update,
                "DeleteIPSet": self.delete, "ListIPSets": self.list}.get(op)
        if call is None:
            raise ApiError(400, "UnknownOperationException")
        self.take(region, "read" if op in ("GetIPSet", "ListIPSets") else "write")
        if not isinstance(q, dict):
            raise ApiError(400, "SerializationException", "not an object")
        scope = self.text(q, "Scope", r"CLOUDFRONT|REGIONAL", 32)
        if scope == "CLOUDFRONT" and region != "us-east-1":
            raise invalid("SCOPE_VALUE", "CLOUDFRONT", "The scope is not valid.")
        with self.lock:
            return call(q, scope, region)

    def text(self, q, name, pattern, most, needed=True):
        v = q.get(name)
        if v is None and not needed:
            return ""
        member = name[0].lower() + name[1:]
        if v is None:
            raise ApiError(400, "ValidationException", "1 validation error detected: Value null at '%s' failed to "
                           "satisfy constraint: Member must not be null" % member)
        if not isinstance(v, str):
            raise ApiError(400, "SerializationException", name)
        if not 1 <= len(v) <= most or not re.fullmatch(pattern, v):
            raise ApiError(400, "ValidationException", "1 validation error detected: Value '%s' at '%s' failed to "
                           "satisfy constraint: Member must satisfy regular expression pattern: %s" % (v, member, pattern))
        return v

    def description(self, q):
        return self.text(q, "Description", r"[\w+=:#@/\-,.][\w+=:#@/\-,.\s]+[\w+=:#@/\-,.]", 256, needed=False)

    def address(self, v, v6):
        if not isinstance(v, str):
            raise ApiError(400, "SerializationException", "Addresses")
        malformed = invalid("IP_ADDRESS", v, "The parameter contains formatting that is not valid.")
        if not 1 <= len(v) <= 50 or "/" not in v:
            raise malformed
        try:
            a = ipaddress.ip_network(v)  # refuses host bits
        except ValueError:
            raise malformed from None
        if a.prefixlen == 0 or a.version != (6 if v6 else 4):
            raise malformed
        return a

    def addresses(self, q, v6):
        given = q.get("Addresses")
        if not isinstance(given, list):
            raise ApiError(400, "ValidationException", "1 validation error detected: Value null at 'addresses' failed "
                           "to satisfy constraint: Member must not be null")
        if len(given) > SET_LIMIT:
            raise ApiError(400, "WAFLimitsExceededException", "AWS WAF couldn't perform the operation because you "
                           "exceeded your resource limit.", SourceType="IP_SET")
        out = {self.address(v, v6) for v in given}
        if len(out) != len(given):
            raise invalid("IP_ADDRESS", "Addresses", "An address occurs twice.")
        return out

    def find(self, q, scope, region):
        name, ident = self.text(q, "Name", r"[\w\-]+", 128), self.text(q, "Id", UUID.pattern, 36)
        for s in self.all_sets:
            if (s.scope, s.region, s.name, s.id) == (scope, region, name, ident):
                return s
        raise ApiError(400, "WAFNonexistentItemException", "AWS WAF couldn't perform the operation because your "
                       "resource doesn't exist.")

    def check_lock(self, q, s):
        if self.text(q, "LockToken", UUID.pattern, 36) != s.lock:
            raise ApiError(400, "WAFOptimisticLockException", "AWS WAF couldn't save your changes because someone "
                           "changed the resource after you started to edit it. Reapply your changes.")
        if time.time() < s.created + self.propagation_s:
            raise ApiError(400, "WAFUnavailableEntityException", "AWS WAF couldn't retrieve a resource that you "
                           "specified for this operation.")

    @staticmethod
    def summary(s):
        return {"Name": s.name, "Id": s.id, "Description": s.description, "LockToken": s.lock, "ARN": s.arn}

    def create(self, q, scope, region):
        name, v6 = self.text(q, "Name", r"[\w\-]+", 128), self.text(q, "IPAddressVersion", "IPV4|IPV6", 4) == "IPV6"
        new, description = self.addresses(q, v6), self.description(q)
        there = [s for s in self.all_sets if (s.scope, s.region) == (scope, region)]
        if any(s.name == name for s in there):
            raise ApiError(400, "WAFDuplicateItemException", "AWS WAF couldn't perform the operation because some "
                           "resource in your request is a duplicate of an existing one.")
        if len(there) >= SETS_LIMIT:
            raise ApiError(400, "WAFLimitsExceededException", "AWS WAF couldn't perform the operation because you "
                           "exceeded your resource limit.", SourceType="IP_SET_COUNT")
        s = Set(scope, region, name, v6, description)
        s.replace(new, "client")
        self.all_sets.append(s)
        return {"Summary": self.summary(s)}

    def get(self, q, scope, region):
        s = self.find(q, scope, region)
        return {"IPSet": {"Name": s.name, "Id": s.id, "ARN": s.arn, "Description": s.description,
                          "IPAddressVersion": "IPV6" if s.v6 else "IPV4", "Addresses": s.texts()}, "LockToken": s.lock}

    def update(self, q, scope, region):
        s = self.find(q, scope, region)
        new = self.addresses(q, s.v6)
        description = self.description(q)
        self.check_lock(q, s)
        foreign = {a for a, who in s.addresses.items() if who != "client"}
        old_foreign = {a for a, h in s.history.items() if h[-1][2] != "client" and a not in s.addresses}
        added, removed = s.replace(new, "client")
        s.description = description
        self.foreign = (len(foreign & removed), len(old_foreign & added))
        return {"NextLockToken": s.lock}

    def delete(self, q, scope, region):
        s = self.find(q, scope, region)
        self.check_lock(q, s)
        self.all_sets.remove(s)
        return {}

    def list(self, q, scope, region):
        limit = q.get("Limit", 100)
        if not isinstance(limit, int) or not 1 <= limit <= 100:
            raise ApiError(400, "ValidationException", "limit")
        there = sorted((s for s in self.all_sets if (s.scope, s.region) == (scope, region)), key=lambda s: s.name)
        after = self.text(q, "NextMarker", r".*\S.*", 256, needed=False)
        page = [s for s in there if s.name > after][:limit]
        out = {"IPSets": [self.summary(s) for s in page]}
        if page:
            out["NextMarker"] = page[-1].name  # also on the last page
        return out

    # SNS

    def sns(self, region, q):
        action = q.get("Action")
        if action == "CreateTopic":
            if not re.fullmatch(r"[\w-]{1,256}(\.fifo)?", q.get("Name", "")):
                raise ApiError(400, "InvalidParameter", "Invalid parameter: Topic Name")
            arn = "arn:aws:sns:%s:%s:%s" % (region, ACCOUNT, q["Name"])
            self.topics.add(arn)
            return "CreateTopic", "<TopicArn>%s</TopicArn>" % arn
        if action != "Publish":
            raise ApiError(400, "InvalidAction", "The action %s is not valid for this endpoint." % action)
        self.check_message(region, q)
        ident = str(uuid.uuid4())
        with self.lock:
            self.published.append(dict(q, MessageId=ident, wall=time.time()))
        return "Publish", "<MessageId>%s</MessageId>" % ident

    def check_message(self, region, q):
        arn, message, subject = q.get("TopicArn", ""), q.get("Message", ""), q.get("Subject")
        if not re.fullmatch(r"arn:aws:sns:%s:\d{12}:[\w.-]+" % region, arn):
            raise ApiError(400, "InvalidParameter", "Invalid parameter: TopicArn")
        if arn not in self.topics:
            raise ApiError(404, "NotFound", "Topic does not exist")
        if not message:
            raise ApiError(400, "InvalidParameter", "Invalid parameter: Empty message")
        if len(message.encode()) > 262144:
            raise ApiError(400, "InvalidParameter", "Invalid parameter: Message too long")
        if subject is not None and (not 1 <= len(subject) <= 100 or not re.fullmatch(r"[!-~][ -~]*", subject)):
            raise ApiError(400, "InvalidParameter", "Invalid parameter: Subject")
        if arn.endswith(".fifo") != ("MessageGroupId" in q):
            raise ApiError(400, "InvalidParameter", "Invalid parameter: The MessageGroupId parameter is required for "
                           "FIFO topics")

    # instance and container

    def session(self, ttl):
        access, key = "ASIA" + uuid.uuid4().hex[:16].upper(), Key(uuid.uuid4().hex + "/+", uuid.uuid4().hex * 8,
                                                                  self.now() + ttl)
        with self.lock:
            self.keys[access] = key
        return {"Code": "Success", "LastUpdated": stamp(self.now()), "Type": "AWS-HMAC", "AccessKeyId": access,
                "SecretAccessKey": key.secret, "Token": key.token, "Expiration": stamp(key.expires)}

    def role_session(self):
        with self.lock:
            c = self.role_creds
            if c is None or self.keys[c["AccessKeyId"]].expires - self.now() < min(self.role_rotate_s,
                                                                                    self.role_ttl_s / 2):
                self.role_creds = self.session(self.role_ttl_s)
            return self.role_creds

    def identity_dir(self):
        """Folder of the key that signs documents. It is made when it is first wanted, which may take seconds: whoever counts on an
        answer of IMDS in its time calls this before."""
        with self.lock:
            if not self.dir:
                self.dir = tempfile.mkdtemp(prefix="aws_fake-")
                openssl(self.dir, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
                        "/C=US/ST=Washington State/L=Seattle/O=Fake Web Services", "-keyout", "key.pem", "-out", "cert.pem")
            return self.dir

    def document(self, instance_id):
        return json.dumps({
            "accountId": self.account, "architecture": "x86_64", "availabilityZone": self.region + "a",
            "billingProducts": None, "devpayProductCodes": None, "marketplaceProductCodes": None,
            "imageId": "ami-0123456789abcdef0", "instanceId": instance_id, "instanceType": "t3.small",
            "kernelId": None, "pendingTime": stamp(time.time() + self.pending_s), "privateIp": "10.0.0.10",
            "ramdiskId": None, "region": self.region, "version": "2017-09-30"}, indent=2)

    def rsa2048(self, instance_id):
        """PKCS7, RSA and SHA-256, the document within, no certificate: base64 without its frame, as IMDS gives it."""
        pem = openssl(self.identity_dir(), "smime", "-sign", "-signer", "cert.pem", "-inkey", "key.pem", "-nocerts",
                      "-nodetach", "-md", "sha256", "-binary", "-outform", "PEM", data=self.document(instance_id).encode())
        return "\n".join(line for line in pem.decode().split("\n") if line and not line.startswith("-----"))

    def imds_answer(self, path, instance):
        """instance: None for the one that is at the fake's own address."""
        ident = instance.id if instance else self.instance_id
        if instance and instance.answer(path) is not None:
            return instance.answer(path)
        roles = "/latest/meta-data/iam/security-credentials/"
        if path == roles and self.role:
            return self.role
        if path == roles + self.role and self.role:
            return json.dumps(self.role_session())
        plain = {"/latest/meta-data/placement/region": lambda: self.region,
                 "/latest/meta-data/instance-id": lambda: ident,
                 "/latest/dynamic/instance-identity/document": lambda: self.document(ident),
                 "/latest/dynamic/instance-identity/rsa2048": lambda: self.rsa2048(ident)}
        return plain[path]() if path in plain else None


def stamp(t):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))


def openssl(cwd, *args, data=b""):
    return subprocess.run(("openssl",) + args, cwd=cwd, input=data, check=True, capture_output=True).stdout


# ---- HTTP ----

class Server(http.server.ThreadingHTTPServer):
    instance = None
    clients = {}  # address of a client: the instance that it is, where one server is the metadata of several
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients are killed in the middle of requests: that is what the tests are about


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "aws_fake", ""

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string(timestamp or self.server.fake.now())

    def send(self, status, body, ctype, headers=(), cut=False):
        data = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        self.send_header("Content-Type", ctype)
        self.send_header("Content-Length", str(len(data)))
        for k, v in headers:
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(data[:len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()
        raise Hangup()

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (Hangup, OSError):
            self.close_connection = True

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    # control

    def control(self, method, body):
        f, path = self.server.fake, urllib.parse.urlsplit(self.path).path[7:]
        q = json.loads(body) if body else {}
        with f.lock:
            if path == "settings" and method == "POST":
                if set(q) - set(SETTINGS):
                    return self.send(400, "unknown: %s\n" % (set(q) - set(SETTINGS)), "text/plain")
                f.__dict__.update(q)
            if path == "rival":
                f.lock.release()  # the rival's thread may be waiting for it
                try:
                    f.rival(q["set"], q["interval"])
                finally:
                    f.lock.acquire()
            if path == "put":
                f.put(q["set"], q["addresses"])
            if path == "topic":
                f.topics.add(q["arn"])
            out = {"settings": lambda: {k: getattr(f, k) for k in SETTINGS}, "log": lambda: f.log,
                   "sets": lambda: [dict(f.summary(s), Scope=s.scope, Region=s.region, V6=s.v6, Addresses={
                       str(a): w for a, w in s.addresses.items()}) for s in f.all_sets],
                   "history": lambda: {s.name: f.history(s.name) for s in f.all_sets}, "published": lambda: f.published,
                   "rival": dict, "put": dict, "topic": dict}.get(path)
            if path == "identity-cert":
                with open(os.path.join(f.identity_dir(), "cert.pem"), encoding="ascii") as pem:
                    return self.send(200, pem.read(), "application/x-pem-file")
            return self.send(200 if out else 404, json.dumps(out() if out else None), "application/json")

    # IMDSv2

    def imds(self, method):
        f, path = self.server.fake, self.path
        f.requests += 1
        if f.imds == "drop":
            time.sleep(f.hang_s)
            self.reset()
        if f.imds == "fail":
            return self.send(500, "", "text/plain")
        if path == "/latest/api/token":
            return self.imds_token(method)
        if method != "GET":
            return self.send(405, "", "text/plain")
        if f.imds_tokens.get(self.headers.get("x-aws-ec2-metadata-token", ""), 0) < time.time():
            return self.send(401, "", "text/plain")
        body = f.imds_answer(path, self.server.clients.get(self.client_address[0], self.server.instance))
        return self.send(404 if body is None else 200, body or "Not found", "text/plain")

    def imds_token(self, method):
        ttl = self.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if method != "PUT":
            return self.send(405, "", "text/plain")
        if self.headers.get("X-Forwarded-For"):
            return self.send(403, "", "text/plain")
        if not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            return self.send(400, "", "text/plain")
        token = base64.b64encode(os.urandom(42)).decode()
        self.server.fake.imds_tokens[token] = time.time() + int(ttl)
        return self.send(200, token, "text/plain", [("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl)])

    def container(self):
        f = self.server.fake
        if f.container_token and self.headers.get("Authorization") != f.container_token:
            return self.send(401, json.dumps({"code": "NotAuthorized"}), "application/json")
        c = f.session(f.container_ttl_s)
        return self.send(200, json.dumps({k: c[k] for k in ("AccessKeyId", "SecretAccessKey", "Token", "Expiration")}),
                         "application/json")

    # services

    def fail_before(self):
        """What is to go wrong with this call: done here, or returned for after it."""
        f = self.server.fake
        time.sleep(f.latency_s)
        kind = random.choice(f.fail_kinds) if random.random() < f.fail_rate else ""
        if kind == "reset":
            self.note_failure(kind)
            self.reset()
        if kind == "hang":
            self.note_failure(kind)
            time.sleep(f.hang_s)
            self.reset()
        if kind == "500":
            raise ApiError(500, "WAFInternalErrorException", "Your request is valid, but AWS WAF couldn't perform the "
                           "operation because of a system problem. Retry your request.")
        if kind == "503":
            raise ApiError(503, "ServiceUnavailable", "Service is unable to handle request.")
        if kind == "throttle":
            raise ApiError(400, random.choice(["ThrottlingException", "Throttling", "TooManyRequestsException",
                                               "RequestLimitExceeded"]), "Rate exceeded")
        return kind

    def note_failure(self, kind):
        self.server.fake.note(self.op, self.where[0], self.set_name, kind)

    def error(self, e, query):
        rid = [("x-amzn-RequestId", str(uuid.uuid4()))]
        if query:
            code = {"UnrecognizedClientException": "InvalidClientTokenId", "ThrottlingException": "Throttling",
                    "InvalidSignatureException": "SignatureDoesNotMatch", "ExpiredTokenException": "ExpiredToken",
                    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
                    "IncompleteSignatureException": "IncompleteSignature"}.get(e.code, e.code)
            status = 403 if code != e.code and code != "Throttling" else e.status
            return self.send(status, '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">\n  <Error>\n    '
                             "<Type>Sender</Type>\n    <Code>%s</Code>\n    <Message>%s</Message>\n  </Error>\n  "
                             "<RequestId>%s</RequestId>\n</ErrorResponse>\n" % (code, escape(e.message), rid[0][1]),
                             "text/xml", rid)
        shape = random.choice(self.server.fake.error_shapes)
        key = "message" if e.code == "WAFInvalidParameterException" or not e.code.startswith("WAF") else "Message"
        out = dict({"__type": ("com.amazonaws.wafv2#" if shape == 1 else "") + e.code}, **{key: e.message}, **e.fields)
        if shape == 2:
            del out["__type"]
        if shape >= 2:
            rid.append(("x-amzn-ErrorType", e.code + random.choice(
                ["", ":", ":http://internal.amazon.com/coral/com.amazonaws.wafv2/"])))
        return self.send(e.status, json.dumps(out), "application/x-amz-json-1.1", rid)

    def service(self, body):
        f, query = self.server.fake, "x-www-form-urlencoded" in self.headers.get("Content-Type", "")
        self.op, self.where, self.set_name, n = "?", ("", ""), "", 0
        try:
            headers = {k.lower(): v for k, v in self.headers.items()}
            q = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True)) if query else json.loads(body)
            self.op = q.get("Action", "?") if query else headers.get("x-amz-target", "").rpartition(".")[2]
            if isinstance(q, dict):
                self.set_name, n = str(q.get("Name", "")), len(q.get("Addresses") or "")
            m = AUTHORIZATION.match(headers.get("authorization", ""))
            self.where = (m[3], m[4]) if m else ("", "")
            kind = self.fail_before()
            if f.verify:
                self.where = f.verify_request(self.command, self.path, headers, body)
            with f.lock:
                f.foreign = (0, 0)
                out = self.perform(q, query, n, kind, headers)
            self.answer(out, query, kind)
        except (ValueError, UnicodeError):
            self.error(ApiError(400, "SerializationException"), query)
        except ApiError as e:
            f.note(self.op, self.where[0], self.set_name, e.code, n)
            self.error(e, query)

    def object_(self):
        f, headers = self.server.fake, {k.lower(): v for k, v in self.headers.items()}
        try:
            where = f.verify_request("GET", self.path, headers, b"")
            self.send(200, f.s3(ApiError, where, self.path, headers), "application/octet-stream")
        except ApiError as e:
            self.send(403 if e.status == 400 else e.status, "<Error><Code>%s</Code></Error>" % e.code, "application/xml")

    def perform(self, q, query, n, kind, headers):
        f, (region, service) = self.server.fake, self.where
        if self.op in f.denied:
            raise ApiError(400, "AccessDeniedException", "User is not authorized to perform: %s" % self.op)
        if query:
            if service not in ("sns", "autoscaling", "ec2"):
                raise ApiError(403, "SignatureDoesNotMatch", "Credential should be scoped to correct service")
            if service == "ec2":
                f.note(self.op, region, "", "ok")
                return "<DescribeInstancesResponse><reservationSet>%s</reservationSet></DescribeInstancesResponse>" % \
                    f.ec2(ApiError, q)
            action, inner = f.sns(region, q) if service == "sns" else f.autoscaling(ApiError, q)
            out = "<%sResponse><%sResult>%s</%sResult></%sResponse>" % (action, action, inner, action, action)
        else:
            target = headers.get("x-amz-target", "").rpartition(".")[0]
            if {"AWSWAF_20190729": "wafv2", "AmazonSSM": "ssm", "secretsmanager": "secretsmanager"}.get(target) != service:
                raise ApiError(400, "UnknownOperationException")
            if headers.get("content-type") != "application/x-amz-json-1.1":
                raise ApiError(404, "UnknownOperationException")
            out = json.dumps(f.wafv2(self.op, region, q)) if service == "wafv2" else \
                getattr(f, service)(ApiError, self.op, region, q)
        f.note(self.op, region, self.set_name, "ok" + ("/" + kind if kind else ""), n, foreign_removed=f.foreign[0],
               foreign_added=f.foreign[1])
        return out

    def answer(self, out, query, kind):
        ctype = "text/xml" if query else "application/x-amz-json-1.1"
        if kind == "reset_after":
            self.reset()
        if kind == "500_after":
            self.error(ApiError(500, "InternalFailure"), query)
        elif kind == "502html":
            self.send(502, "<html><head><title>502 Bad Gateway</title></head></html>", "text/html")
        else:
            self.send(200, out, ctype, [("x-amzn-RequestId", str(uuid.uuid4()))], cut=kind == "truncate")

    def do_GET(self):
        self.dispatch("GET")

    def do_PUT(self):
        self.dispatch("PUT")

    def do_POST(self):
        self.dispatch("POST")

    def dispatch(self, method):
        body = self.body()
        if self.path.startswith("/_fake/"):
            self.control(method, body)
        elif self.path.startswith("/latest/"):
            self.imds(method)
        elif self.path.startswith("/v2/credentials/") and method == "GET":
            self.container()
        elif method == "GET" and "/s3/aws4_request" in self.headers.get("Authorization", ""):
            self.object_()
        elif method == "POST" and self.path == "/":
            self.service(body)
        else:
            self.send(404, "", "text/plain")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--port", type=int, default=0)
    ap.add_argument("--host", default="127.0.0.1")
    args = ap.parse_args()
    with Fake(args.host, args.port) as f:
        print(f.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
