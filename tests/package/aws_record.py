"""Stands between a client and an AWS of a test (moto), passes everything on, and records which action on which resource was called,
as IAM names them. Serves IMDSv2 beside it: one role's credentials, and what an instance is."""
import http.client
import http.server
import json
import re
import threading
import urllib.parse

ACCOUNT = "123456789012"
AUTHORIZATION = re.compile(r"Credential=[^/]+/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")


class Recorder:
    """`calls`: (action, [resources], {condition keys}, status of the answer)."""

    def __init__(self, port, instance="i-0123456789abcdef0", region="eu-west-1", credentials=None, tags=None):
        self.upstream, self.instance, self.region = port, instance, region
        self.credentials, self.tags = credentials or {}, tags or {}
        self.calls, self.lock = [], threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.recorder = True, self
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        self.group = ""  # of Auto Scaling, whose instance this is, and which ends it
        self.hook = None  # (action, body) -> (status, body) or None: an answer in moto's place

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": .05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def took(self, action=None):
        with self.lock:
            return [c[:3] for c in self.calls if action in (None, c[0])]

    def denied(self):
        with self.lock:
            return [c for c in self.calls if c[3] in (401, 403)]

    # what IAM calls it

    def wafv2(self, op, region, q):
        scope = "global" if q.get("Scope") == "CLOUDFRONT" else "regional"
        arn = "arn:aws:wafv2:%s:%s:%s/ipset/" % (region, ACCOUNT, scope)
        if op in ("GetIPSet", "UpdateIPSet", "DeleteIPSet"):
            return [arn + q["Name"] + "/" + q["Id"]]
        return [arn + q["Name"] + "/"] if op == "CreateIPSet" else ["*"]

    def describe(self, service, region, headers, path, method, body):
        """(action, resources, condition keys)"""
        if service == "s3":
            return "s3:GetObject" if method in ("GET", "HEAD") else "s3:" + method, ["arn:aws:s3:::" + path[1:]], {}
        if "x-amz-target" in headers:
            op, q = headers["x-amz-target"].rpartition(".")[2], json.loads(body)
            arn = "arn:aws:%s:%s:%s:" % (service, region, ACCOUNT)
            if service == "wafv2":
                return "wafv2:" + op, self.wafv2(op, region, q), {}
            if service == "ssm" and "Name" in q:
                return "ssm:" + op, [q["Name"] if q["Name"].startswith("arn:") else arn + "parameter/" + q["Name"].lstrip("/")], {}
            if service == "secretsmanager":
                return "secretsmanager:" + op, [q["SecretId"]], {}
            return service + ":" + op, ["*"], {}
        q = dict(urllib.parse.parse_qsl(body.decode()))
        op = q.get("Action", "?")
        arn = "arn:aws:%s:%s:%s:" % (service, region, ACCOUNT)
        if service == "sns":
            return "sns:" + op, [q.get("TopicArn", "*")], {}
        if op == "AttachVolume":
            return "ec2:AttachVolume", [arn + "volume/" + q["VolumeId"], arn + "instance/" + q["InstanceId"]], {
                "aws:ResourceTag/" + k: v for k, v in self.tags.items()}
        if op in ("CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"):
            return "autoscaling:" + op, [arn + "autoScalingGroup:00000000-0000-4000-8000-000000000000:autoScalingGroupName/" +
                                         q["AutoScalingGroupName"]], {}
        return service + ":" + op, ["*"], {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body, headers=()):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for k, v in headers:
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def imds(self):
        r = self.server.recorder
        base = "/latest/meta-data/"
        if r.group:
            answers = {base + "tags/instance/aws:autoscaling:groupName": r.group,
                       base + "autoscaling/target-lifecycle-state": "Terminated"}
        else:
            answers = {}
        answers.update({base + "instance-id": r.instance, base + "placement/region": r.region,
                   base + "placement/availability-zone": r.region + "a", base + "iam/security-credentials/": "role",
                   base + "iam/security-credentials/role": json.dumps({
                       "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": r.credentials.get("AccessKeyId"),
                       "SecretAccessKey": r.credentials.get("SecretAccessKey"), "Token": r.credentials.get("SessionToken"),
                       "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2036-01-01T00:00:00Z"})})
        if self.path == "/latest/api/token":
            return self.send(200 if self.command == "PUT" else 405, b"token", [("X-aws-ec2-metadata-token-ttl-seconds", "300")])
        if self.headers.get("X-aws-ec2-metadata-token") != "token":
            return self.send(401, b"")
        text = answers.get(self.path)
        return self.send(404 if text is None else 200, (text or "").encode())

    def service(self):
        r = self.server.recorder
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/latest/"):
            return self.imds()
        headers = {k.lower(): v for k, v in self.headers.items()}
        m = AUTHORIZATION.search(headers.get("authorization", ""))
        action, resources, context = ("?", ["*"], {})
        if m:
            path = urllib.parse.urlsplit(self.path).path
            action, resources, context = r.describe(m[2], m[1], headers, path, self.command, body)
        hooked = r.hook(action, body) if r.hook else None
        if hooked:
            status, data, kept = hooked[0], hooked[1], [("Content-Type", "application/x-amz-json-1.1")]
        else:
            status, data, kept = self.pass_on(body)
        with r.lock:
            r.calls.append((action, resources, context, status))
        return self.send(status, data, kept)

    def pass_on(self, body):
        c = http.client.HTTPConnection("127.0.0.1", self.server.recorder.upstream, timeout=60)
        try:
            c.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for k, v in self.headers.items():
                c.putheader(k, v)
            c.endheaders(body)
            got = c.getresponse()
            data = got.read()
            drop = ("content-length", "transfer-encoding", "connection", "date", "server")
            return got.status, data, [(k, v) for k, v in got.getheaders() if k.lower() not in drop]
        finally:
            c.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = service
