"""What the strict AWS (aws_fake.py) has for instances: Parameter Store, Secrets Manager, Auto Scaling, EC2, and metadata of
any number of instances, each with an address of its own. A part of Fake, which knows signatures, failures and the log.
"""
import hashlib
import json
import re
import threading

NAME = r"(?:arn:aws:ssm:[a-z0-9-]+:\d{12}:parameter)?[a-zA-Z0-9_./-]{1,1011}"
GROUP = r"[^\x00-\x1f:]{1,255}"


class Instance:
    """Its part of the metadata. tags: None where instance tags are not in the metadata."""

    def __init__(self, instance_id, tags=None):
        self.id, self.tags = instance_id, tags
        self.state = "running"    # of EC2
        self.target_state = None  # "InService", "Terminated": only within an Auto Scaling group
        self.spot_action = None   # "terminate", "stop", "hibernate": a spot instance's notice
        self.server, self.url = None, None

    def answer(self, path):
        if path == "/latest/meta-data/autoscaling/target-lifecycle-state":
            return self.target_state
        if path == "/latest/meta-data/spot/instance-action" and self.spot_action:
            return json.dumps({"action": self.spot_action, "time": "2030-01-01T00:00:00Z"})
        where = "/latest/meta-data/tags/instance"
        if self.tags is not None and path in (where, where + "/"):
            return "\n".join(self.tags)
        if self.tags is not None and path.startswith(where + "/"):
            return self.tags.get(path[len(where) + 1:])
        return None


class Kept:
    """parameters, secrets: {(region, name): text}; objects: {"/BUCKET/KEY": bytes}, of S3; groups: {instance ID: group}; hooks: {(group, name)}; waiting:
    {(group, hook, instance ID)}, of which a completed one is taken out; denied: names of calls."""

    def begin_kept(self):
        self.parameters, self.secrets, self.groups = {}, {}, {}
        self.hooks, self.waiting, self.completed, self.denied = set(), set(), [], set()
        self.instances, self.objects = [], {}

    def add_instance(self, instance_id, tags=None, make=None):
        """make(instance): a server for its metadata."""
        i = Instance(instance_id, tags)
        i.server = make(i)
        i.url = "http://%s:%d" % i.server.server_address
        threading.Thread(target=i.server.serve_forever, kwargs={"poll_interval": .5}, daemon=True).start()
        with self.lock:
            self.instances.append(i)
        return i

    def end_kept(self):
        ends = [threading.Thread(target=i.server.shutdown) for i in self.instances]
        for t in ends:
            t.start()
        for t in ends:
            t.join()
        for i in self.instances:
            i.server.server_close()

    def need(self, error, q, name, pattern):
        v = q.get(name)
        if not isinstance(v, str) or not re.fullmatch(pattern, v):
            raise error(400, "ValidationException", "1 validation error detected: Value at '%s' failed" % name)
        return v

    def s3(self, error, where, path, headers):
        """GetObject, path style."""
        if where[1] != "s3" or headers.get("x-amz-content-sha256") != hashlib.sha256(b"").hexdigest():
            raise error(400, "InvalidRequest", "x-amz-content-sha256")
        if "GetObject" in self.denied:
            raise error(403, "AccessDenied", "Access Denied")
        if path not in self.objects:
            raise error(404, "NoSuchKey", "The specified key does not exist.")
        return self.objects[path]

    def ssm(self, error, op, region, q):
        if op != "GetParameter":
            raise error(400, "UnknownOperationException")
        name = self.need(error, q, "Name", NAME)
        if set(q) - {"Name", "WithDecryption"} or not isinstance(q.get("WithDecryption", False), bool):
            raise error(400, "SerializationException")
        name = name.partition(":parameter")[2] or name
        if (region, name) not in self.parameters:
            raise error(400, "ParameterNotFound")
        value = self.parameters[region, name] if q.get("WithDecryption") else "AQICAHg" * 8
        return json.dumps({"Parameter": {"Name": name, "Type": "SecureString", "Value": value, "Version": 1,
                                         "LastModifiedDate": 1.7e9, "DataType": "text",
                                         "ARN": "arn:aws:ssm:%s:123456789012:parameter%s" % (region, name)}})

    def secretsmanager(self, error, op, region, q):
        if op != "GetSecretValue":
            raise error(400, "UnknownOperationException")
        name = self.need(error, q, "SecretId", r".{1,2048}")
        name = re.sub(r"arn:aws:secretsmanager:%s:\d{12}:secret:(.*?)(-[a-zA-Z0-9]{6})?" % region, r"\1", name) \
            if re.fullmatch(r"arn:.*", name) else name
        if (region, name) not in self.secrets:
            raise error(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        value = self.secrets[region, name]
        out = {"SecretBinary": "AAAA"} if value is None else {"SecretString": value}
        return json.dumps(dict(out, Name=name, VersionStages=["AWSCURRENT"], CreatedDate=1.7e9,
                               ARN="arn:aws:secretsmanager:%s:123456789012:secret:%s-AbCdEf" % (region, name)))

    def ec2(self, error, q):
        """DescribeInstances, by filters."""
        if q.get("Action") != "DescribeInstances" or q.get("Version") != "2016-11-15":
            raise error(400, "InvalidAction", "The action %s is not valid for this web service." % q.get("Action"))
        filters = {}
        for k, v in q.items():
            m = re.fullmatch(r"Filter\.(\d+)\.Name", k)
            if m:
                filters[v] = [q[n] for n in q if n.startswith("Filter.%s.Value." % m[1])]
        if set(filters) - {"instance-state-name", "instance-id"} or any(len(v) > 200 for v in filters.values()):
            raise error(400, "InvalidParameterValue", "The filter is invalid")
        found = [i for i in self.instances if i.state in filters.get("instance-state-name", [i.state]) and
                 i.id in filters.get("instance-id", [i.id])]
        return "".join("<item><reservationId>r-0</reservationId><instancesSet><item><instanceId>%s</instanceId><imageId>ami-0"
                       "</imageId><instanceState><code>48</code><name>%s</name></instanceState></item></instancesSet></item>" %
                       (i.id, i.state) for i in found)

    def autoscaling(self, error, q):
        action = q.get("Action")
        if q.get("Version") != "2011-01-01":
            raise error(400, "InvalidAction", "Could not find operation %s for version %s" % (action, q.get("Version")))
        if action == "DescribeAutoScalingInstances":
            group = self.groups.get(q.get("InstanceIds.member.1"))
            inner = "" if group is None else (
                "<member>\n<InstanceId>%s</InstanceId>\n<LifecycleState>Terminating:Wait</LifecycleState>\n"
                "<AutoScalingGroupName>%s</AutoScalingGroupName>\n</member>" % (q["InstanceIds.member.1"], group))
            return action, "<AutoScalingInstances>%s</AutoScalingInstances>" % inner
        if action != "CompleteLifecycleAction":
            raise error(400, "InvalidAction", "Could not find operation %s" % action)
        group = self.need(error, q, "AutoScalingGroupName", GROUP)
        hook = self.need(error, q, "LifecycleHookName", r"[A-Za-z0-9\-_/]{1,255}")
        if q.get("LifecycleActionResult") not in ("CONTINUE", "ABANDON"):
            raise error(400, "ValidationError", "LifecycleActionResult")
        if (group, hook) not in self.hooks:
            raise error(400, "ValidationError", "No Lifecycle Hook found with name: %s" % hook)
        if (group, hook, q.get("InstanceId")) not in self.waiting:
            raise error(400, "ValidationError", "No active Lifecycle Action found with instance ID %s" %
                        q.get("InstanceId"))
        self.waiting.discard((group, hook, q["InstanceId"]))
        self.completed.append((group, hook, q["InstanceId"], q["LifecycleActionResult"]))
        return action, ""
