#!/usr/bin/env python3
"""The templates of packaging/cloudformation: checked by cfn-lint, deployed to moto, and run.

- What the manager and the agent call of AWS is recorded; their policies must allow each of these calls on its resource, and
  nothing else: a grant that no call has used is a failure. moto, which checks signatures and actions, is a second judge.
- The manager's user data, as moto's launch template has it, is run as root in a file system that can be thrown away.
- moto knows neither IP sets' rules nor secrets nor network load balancers as part of a stack: those are made with their own API
  and the template's properties, which botocore checks against AWS's model.

Usage: cloudformation.py --manager PATH --agent PATH      root for the user data; without moto and cfn-lint in build/venv: skipped
"""
import argparse
import base64
import concurrent.futures
import glob
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests/manager")]
VENV = os.path.join(os.environ.get("SEKISHO_VENV") or os.path.join(ROOT, "build/venv"), "bin/python")
if os.path.exists(VENV) and os.environ.get("CLOUDFORMATION_TEST") is None:
    os.environ["CLOUDFORMATION_TEST"] = "1"
    lead = ["unshare", "--mount", "--propagation", "private"] if os.geteuid() == 0 else []
    os.execvp((lead + [VENV])[0], lead + [VENV, "-B"] + sys.argv)

import bed  # noqa: E402
import ssm as ssm_test  # noqa: E402
import templates  # noqa: E402
from aws_record import Recorder  # noqa: E402
from bed import REGION, Host, Manager, Moto, Tally, wait_until  # noqa: E402
from templates import ACCOUNT, FOLDER, Template, judge  # noqa: E402

NAMES = sorted(os.path.basename(p) for p in glob.glob(FOLDER + "/*.yaml"))
TOPIC = "arn:aws:sns:%s:%s:alerts" % (REGION, ACCOUNT)
BUCKET, KEY, CERTIFICATES = "packages", "sekisho/sekisho-manager.rpm", "sekisho/certificates.pem"
NETWORK = {"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2"}
MANAGER = {"ManagerName": "manager.example.com", "PackageBucket": BUCKET, "PackageKey": KEY, "PackageSha256": "0" * 64}
SINGLE = dict(MANAGER, **NETWORK, VolumeZone=REGION + "a")
PAIR = dict(MANAGER, **NETWORK, Managers="pair")
EVERYTHING = {"TopicArn": TOPIC, "Identity": "required", "IdentityKey": CERTIFICATES, "WafCloudFront": "yes", "HostedZoneId": "Z0123456789"}
AGENTS = dict(NETWORK, ManagerUrl="https://manager.example.com:8443", TokenParameter="/fleet/token", CaParameter="/fleet/ca",
              PackageBucket=BUCKET, SumsSha256="0" * 64)
ALL = {"single": ("manager.yaml", SINGLE), "pair": ("manager.yaml", PAIR), "all of it": ("manager.yaml", dict(PAIR, **EVERYTHING)),
       "nothing but agents": ("manager.yaml", dict(SINGLE, WafRegional="no", Operations="no")),
       "user data": ("agents-asg.yaml", AGENTS),
       "distributor": ("agents-asg.yaml", dict(AGENTS, InstallBy="distributor", SecurityGroupIds="sg-1,sg-2", TargetGroupArns="arn:x"))}


def set_arn(name, scope="regional", region=REGION):
    return "arn:aws:wafv2:%s:%s:%s/ipset/%s/01234567-89ab-cdef-0123-456789abcdef" % (region, ACCOUNT, scope, name)


# ---- what needs no AWS ----

def test_lint(t):
    tool = bed.venv_tool("cfn-lint")
    if not tool:
        t.skip("cfn-lint", "not in build/venv")
        return
    got = subprocess.run([tool, *[os.path.join(FOLDER, name) for name in NAMES]], capture_output=True, text=True)
    t.check("cfn-lint has nothing to say of any template", got.returncode == 0 and not got.stdout, got.stdout[:600])
    got = subprocess.run([sys.executable, "-B", os.path.join(FOLDER, "embed.py"), "--check"], capture_output=True, text=True)
    t.check("the agents' user data is that of packaging/userdata", got.returncode == 0, got.stdout + got.stderr)


def test_rules(t):
    """What must hold of every template, whatever its parameters."""
    for what, (name, params) in ALL.items():
        r = Template(name, params)
        meta = [x["LaunchTemplateData"]["MetadataOptions"] for x in r.of_type("AWS::EC2::LaunchTemplate").values()]
        t.check(what + ": IMDSv2 only, tags in it", all(m["HttpTokens"] == "required" and m["HttpPutResponseHopLimit"] == 1 and
                                                       m["InstanceMetadataTags"] == "enabled" for m in meta) and meta)
        wide = [(k, s) for k, s in r.policies() if "*" in str(s["Action"]) or "NotAction" in s]
        t.check(what + ": no action with a wildcard", not wide, wide)
        managed = [x for x in r.of_type("AWS::IAM::Role").values() if x.get("ManagedPolicyArns")]
        t.check(what + ": no managed policy", not managed, managed)
        ports = [(k, i) for k, g in r.of_type("AWS::EC2::SecurityGroup").items() for i in g.get("SecurityGroupIngress", [])
                 if i.get("CidrIp", "").endswith("/0") or i["FromPort"] != i["ToPort"]]
        t.check(what + ": nothing is open to the world", not ports, ports)
        data = r.user_data()
        if what == "distributor":
            t.check(what + ": no user data", data == "")
            continue
        t.check(what + ": EC2 takes the user data", 0 < len(data.encode()) <= 16384, len(data.encode()))
        got = subprocess.run(["bash", "-n"], input=data, capture_output=True, text=True)
        t.check(what + ": user data is a script", got.returncode == 0 and data.startswith("#!/bin/"), got.stderr)
        if shutil.which("shellcheck"):
            got = subprocess.run(["shellcheck", "-e", "SC2034,SC2154,SC1091", "-"], input=data, capture_output=True, text=True)
            t.check(what + ": shellcheck", got.returncode == 0, got.stdout[:500])
        else:
            t.skip(what + ": shellcheck", "not installed")
        t.check(what + ": nothing is left to fill in", "<Db.Endpoint.Address>" in data or "<" not in re.sub(
            r"<<.*|<\"|<'|< |<(LoadBalancer.DNSName|Volume|DbSecret|StateSecret)>|<\$|<&", "", data.split("set -e")[0]))
    stored = [x for w in ("single", "pair") for k in ("AWS::EC2::Volume", "AWS::RDS::DBInstance")
              for x in Template(*ALL[w]).of_type(k).values()]
    t.check("what is stored is encrypted", len(stored) == 2 and all(x.get("Encrypted", x.get("StorageEncrypted")) for x in stored))
    kinds = {r["Type"] for name in NAMES for r in templates.load(name)["Resources"].values()}
    t.check("no stack has an IP set: an update would empty it", "AWS::WAFv2::IPSet" not in kinds and len(kinds) > 15, kinds)
    for bad in ({"VolumeZone": REGION + "a", "WafPrefix": "a b"}, {"ManagerName": "a'b"}, {"PackageKey": "a$(reboot).rpm"},
                {"TopicArn": "x"}):
        try:
            Template("manager.yaml", dict(SINGLE, **bad))
            t.check("refused: %s" % bad, False)
        except ValueError:
            t.check("refused: %s" % bad, True)


def test_judge(t):
    """It finds what is missing, what is too much, and a condition that does not hold."""
    grants = [("p", {"Action": ["a:One", "a:Two"], "Resource": ["arn:x/*", "arn:y"]}),
              ("q", {"Action": "a:Tagged", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/k": "v"}}})]
    refused, idle = judge(grants, [("a:One", ["arn:x/1"], {}), ("a:One", ["arn:z"], {}), ("a:Three", ["arn:y"], {}),
                                   ("a:Tagged", ["arn:w"], {}), ("a:Tagged", ["arn:w"], {"aws:ResourceTag/k": "v"})])
    t.check("the judge: calls that are not allowed", refused == [("a:One", "arn:z"), ("a:Three", "arn:y"), ("a:Tagged", "arn:w")], refused)
    t.check("the judge: grants that no call needs", [x[1:3] for x in idle] == [("a:One", "arn:y"), ("a:Two", "arn:x/*"),
                                                                              ("a:Two", "arn:y")], idle)


# ---- AWS WAF: rule group and web ACL, with sets that the manager has made ----

def api_form(v):
    """CloudFormation's properties as the API has them: Arn is ARN there."""
    if isinstance(v, dict):
        return {"ARN" if k == "Arn" else k: api_form(x) for k, x in v.items()}
    return [api_form(x) for x in v] if isinstance(v, list) else v


def deploy_waf(client, params, region=REGION):
    r = Template("waf.yaml", params, region=region, stack="waf" + os.urandom(3).hex())
    group = client.create_rule_group(**api_form(r.of_type("AWS::WAFv2::RuleGroup")["RuleGroup"]))["Summary"]
    r = Template("waf.yaml", params, region=region, stack=r.pseudo["AWS::StackName"], made={"RuleGroup.Arn": group["ARN"]})
    acl = [client.create_web_acl(**api_form(p))["Summary"] for p in r.of_type("AWS::WAFv2::WebACL").values()]
    return r, group, acl


def statements(client, group, scope):
    rules = client.get_rule_group(Name=group["Name"], Scope=scope, Id=group["Id"])["RuleGroup"]["Rules"]
    return rules[0], [s["IPSetReferenceStatement"] for s in rules[0]["Statement"]["OrStatement"]["Statements"]]


def test_waf(t, moto, client_of):
    w = client_of("wafv2")
    two = {"IPv4Set1": set_arn("sekisho-v4-0"), "IPv6Set1": set_arn("sekisho-v6-0")}
    _, group, acl = deploy_waf(w, two)
    rule, refs = statements(w, group, "REGIONAL")
    t.check("waf.yaml: both families block", [x["ARN"] for x in refs] == [two["IPv4Set1"], two["IPv6Set1"]] and
            rule["Action"] == {"Block": {}}, rule)
    got = w.get_web_acl(Name=acl[0]["Name"], Scope="REGIONAL", Id=acl[0]["Id"])["WebACL"]
    t.check("waf.yaml: the web ACL lets others through, and has the group", got["DefaultAction"] == {"Allow": {}} and
            got["Rules"][0]["Statement"]["RuleGroupReferenceStatement"]["ARN"] == group["ARN"], got)
    many = dict(two, IPv4Set2=set_arn("sekisho-v4-1"), IPv4Set4=set_arn("sekisho-v4-3"), IPv6Set3=set_arn("sekisho-v6-2"),
                ForwardedHeader="X-Forwarded-For", RuleAction="Count", WebAcl="no")
    _, group, acl = deploy_waf(w, many)
    rule, refs = statements(w, group, "REGIONAL")
    t.check("waf.yaml: more sets, behind a proxy, counted, no web ACL", len(refs) == 5 and acl == [] and rule["Action"] == {"Count": {}}
            and all(x["IPSetForwardedIPConfig"] == {"HeaderName": "X-Forwarded-For", "FallbackBehavior": "NO_MATCH", "Position": "LAST"}
                    for x in refs), rule)
    edge = {"IPv4Set1": set_arn("sekisho-v4-0", "global", "us-east-1"), "IPv6Set1": set_arn("sekisho-v6-0", "global", "us-east-1"),
            "Scope": "CLOUDFRONT"}
    r, group, acl = deploy_waf(client_of("wafv2", "us-east-1"), edge, "us-east-1")
    t.check("waf.yaml: CLOUDFRONT", ":global/" in group["ARN"] and acl and not r.of_type("AWS::WAFv2::WebACLAssociation"), group)
    balancer = "arn:aws:elasticloadbalancing:%s:%s:loadbalancer/app/web/0123456789abcdef" % (REGION, ACCOUNT)
    r = Template("waf.yaml", dict(two, LoadBalancerArn=balancer))
    t.check("waf.yaml: the load balancer gets the web ACL", r.of_type("AWS::WAFv2::WebACLAssociation") == {
        "Association": {"ResourceArn": balancer, "WebACLArn": "<Acl.Arn>"}})
    for bad in (dict(two, IPv4Set1=""), dict(two, IPv4Set2="sekisho-v4-1"), dict(two, ForwardedHeader="a b"), dict(two, Scope="BOTH")):
        try:
            Template("waf.yaml", bad)
            t.check("waf.yaml refuses %s" % bad, False)
        except ValueError:
            t.check("waf.yaml refuses what is no set, header or scope", True)


# ---- stacks in moto ----

API = {"AWS::SecretsManager::Secret": "secret", "AWS::ElasticLoadBalancingV2::LoadBalancer": "balancer",
       "AWS::ElasticLoadBalancingV2::TargetGroup": "target", "AWS::ElasticLoadBalancingV2::Listener": "listener",
       "AWS::EC2::SecurityGroupEgress": "egress", "AWS::SSM::Association": "association"}


def replace(v, made):
    """References to what is made outside of the stack, by their values."""
    if isinstance(v, dict):
        if len(v) == 1 and v.get("Ref") in made:
            return made[v["Ref"]]
        if len(v) == 1 and isinstance(v.get("Fn::GetAtt"), list) and ".".join(v["Fn::GetAtt"]) in made:
            return made[".".join(v["Fn::GetAtt"])]
        if len(v) == 1 and isinstance(v.get("Fn::Sub"), str):
            return {"Fn::Sub": re.sub(r"\$\{([A-Za-z.]+)\}", lambda m: made.get(m[1], m[0]), v["Fn::Sub"])}
        return {k: replace(x, made) for k, x in v.items()}
    return [replace(x, made) for x in v] if isinstance(v, list) else v


class Stack:
    """A template in moto: what moto's CloudFormation cannot make is made with its API first, from the same properties."""

    def __init__(self, client_of, name, template, params, port):
        self.port = port
        self.client_of, self.name, self.params = client_of, name, params
        ec2 = client_of("ec2")
        nets = ec2.describe_subnets()["Subnets"]
        self.params = dict(params, VpcId=nets[0]["VpcId"], SubnetIds="%s,%s" % (nets[0]["SubnetId"], nets[1]["SubnetId"]))
        if "VolumeZone" in params:
            self.params["VolumeZone"] = nets[0]["AvailabilityZone"]
        self.template, self.doc = template, templates.load(template)
        self.made = {"Db.Endpoint.Address": "db.example.com"}  # which moto's Fn::Sub does not know
        self.make_others(Template(template, self.params, stack=name))
        self.doc["Resources"] = {k: r for k, r in self.doc["Resources"].items() if r["Type"] not in API}
        for r in self.doc["Resources"].values():
            r.pop("DependsOn", None)
        self.cfn = client_of("cloudformation")
        self.cfn.create_stack(StackName=name, **self.body(self.params))
        self.physical = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in self.cfn.list_stack_resources(
            StackName=name)["StackResourceSummaries"]}

    def body(self, params, tags=()):
        return {"TemplateBody": json.dumps(replace(self.doc, self.made)), "Capabilities": ["CAPABILITY_IAM"],
                "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in params.items()],
                "Tags": [{"Key": k, "Value": v} for k, v in tags]}

    def make_others(self, r):
        sm, lb = self.client_of("secretsmanager"), self.client_of("elbv2")
        for k, p in r.of_type("AWS::SecretsManager::Secret").items():
            text = {}
            if "GenerateSecretString" in p:
                g = p["GenerateSecretString"]
                word = sm.get_random_password(PasswordLength=g["PasswordLength"], ExcludePunctuation=g["ExcludePunctuation"])
                text = {"SecretString": json.dumps(dict(json.loads(g["SecretStringTemplate"]),
                                                        **{g["GenerateStringKey"]: word["RandomPassword"]}))}
            self.made[k] = sm.create_secret(Name=self.name + "-" + k, Description=p["Description"], **text)["ARN"]
        for k, p in r.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer").items():
            got = lb.create_load_balancer(Name=self.name + "-lb", Type=p["Type"], Scheme=p["Scheme"], Subnets=p["Subnets"])
            got = got["LoadBalancers"][0]
            self.made.update({k: got["LoadBalancerArn"], k + ".DNSName": got["DNSName"]})
            lb.modify_load_balancer_attributes(LoadBalancerArn=got["LoadBalancerArn"], Attributes=p["LoadBalancerAttributes"])
        for k, p in r.of_type("AWS::ElasticLoadBalancingV2::TargetGroup").items():
            attributes = p.pop("TargetGroupAttributes")
            self.made[k] = lb.create_target_group(Name=self.name + "-tg", **p)["TargetGroups"][0]["TargetGroupArn"]
            lb.modify_target_group_attributes(TargetGroupArn=self.made[k], Attributes=attributes)
        for k, p in r.of_type("AWS::ElasticLoadBalancingV2::Listener").items():
            p = dict(p, LoadBalancerArn=self.made["LoadBalancer"],
                     DefaultActions=[{"Type": "forward", "TargetGroupArn": self.made["TargetGroup"]}])
            self.made[k] = lb.create_listener(**p)["Listeners"][0]["ListenerArn"]
        for k, p in r.of_type("AWS::SSM::Association").items():
            got = self.client_of("ssm").meta.service_model.operation_model("CreateAssociation").input_shape.members
            self.made[k] = "association"
            self.unknown = set(p) - set(got)  # moto has no associations: the names at least are those of AWS's model

    def update(self, tags=(), **params):
        self.params.update(params)
        self.cfn.update_stack(StackName=self.name, **self.body(self.params, tags))

    def delete(self):
        self.cfn.delete_stack(StackName=self.name)

    def user_data(self):
        data = self.client_of("ec2").describe_launch_template_versions(LaunchTemplateId=self.physical["LaunchTemplate"])
        return base64.b64decode(data["LaunchTemplateVersions"][-1]["LaunchTemplateData"]["UserData"]).decode()

    def instances(self):
        group = self.client_of("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.physical["Group"]])
        return [i["InstanceId"] for i in group["AutoScalingGroups"][0]["Instances"]]

    def role(self):
        """Credentials of a role that has this stack's policies, on all resources: moto looks at actions only."""
        iam, name = self.client_of("iam"), "judge-%s-%s" % (self.name, os.urandom(3).hex())
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]}
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        for policy in iam.list_role_policies(RoleName=self.physical["Role"])["PolicyNames"]:
            doc = iam.get_role_policy(RoleName=self.physical["Role"], PolicyName=policy)["PolicyDocument"]
            for s in doc["Statement"]:
                s["Resource"] = "*"
                s.pop("Condition", None)
            iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(doc))
        return self.client_of("sts").assume_role(RoleArn="arn:aws:iam::%s:role/%s" % (ACCOUNT, name), RoleSessionName="test")["Credentials"]

    def resolved(self):
        return Template(self.template, self.params, stack=self.name, made=dict(self.physical, **self.made))


def environment(credentials, **more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return dict(clean, AWS_ACCESS_KEY_ID=credentials["AccessKeyId"], AWS_SECRET_ACCESS_KEY=credentials["SecretAccessKey"],
                AWS_SESSION_TOKEN=credentials["SessionToken"], AWS_EC2_METADATA_DISABLED="true", **more)


def test_stack_single(t, stack):
    c, p = stack.client_of, stack.physical
    v = c("ec2").describe_volumes(VolumeIds=[p["Volume"]])["Volumes"][0]
    t.check("single: a volume, where the instance is", v["Size"] == 20 and v["AvailabilityZone"] == stack.params["VolumeZone"], v)
    g = c("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[p["Group"]])["AutoScalingGroups"][0]
    t.check("single: one instance, in the volume's zone", (g["MinSize"], g["MaxSize"], len(g["Instances"])) == (1, 1, 1) and
            g["VPCZoneIdentifier"] == stack.params["SubnetIds"].split(",")[0] and g["TargetGroupARNs"] == [stack.made["TargetGroup"]], g)
    lt = c("ec2").describe_launch_template_versions(LaunchTemplateId=p["LaunchTemplate"])["LaunchTemplateVersions"][0]
    t.check("single: IMDSv2", lt["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"] == "required", lt["LaunchTemplateData"])
    lb = c("elbv2")
    listener = lb.describe_listeners(LoadBalancerArn=stack.made["LoadBalancer"])["Listeners"][0]
    t.check("single: TCP on 8443: TLS is passed through", (listener["Protocol"], listener["Port"]) == ("TCP", 8443) and
            not listener.get("Certificates"), listener)
    attributes = {a["Key"]: a["Value"] for a in lb.describe_target_group_attributes(TargetGroupArn=stack.made["TargetGroup"])["Attributes"]}
    t.check("single: the manager sees clients' addresses", attributes["preserve_client_ip.enabled"] == "true", attributes)
    out = {o["OutputKey"]: o["OutputValue"] for o in stack.cfn.describe_stacks(StackName=stack.name)["Stacks"][0]["Outputs"]}
    t.check("single: outputs", out["ManagerUrl"] == "https://manager.example.com:8443" and out["TokenParameter"] == "/%s/token" % stack.name
            and out["LoadBalancerName"] == stack.made["LoadBalancer.DNSName"], out)


def test_stack_pair(t, stack):
    c, p = stack.client_of, stack.physical
    db = c("rds").describe_db_instances(DBInstanceIdentifier=p["Db"])["DBInstances"][0]
    t.check("pair: PostgreSQL, encrypted, not public, two zones", db["Engine"] == "postgres" and db["StorageEncrypted"] and
            not db["PubliclyAccessible"] and db["MultiAZ"], db)
    t.check("pair: two instances", len(stack.instances()) == 2)
    group = c("ec2").describe_security_groups(GroupIds=[p["DbGroup"]])["SecurityGroups"][0]["IpPermissions"]
    t.check("pair: only managers reach the database", [(x["FromPort"], x["UserIdGroupPairs"][0]["GroupId"], x["IpRanges"]) for x in group]
            == [(5432, p["ManagerGroup"], [])], group)


# ---- what the manager calls ----

def test_manager_calls(t, args, moto, client_of, stack):
    """All that manager.yaml can switch on, with the credentials of its role; each call is recorded."""
    client_of("sns").create_topic(Name="alerts")
    creds = stack.role()
    instance = stack.instances()[0]
    targets = ("waf:\n  enabled: yes\n  read-back: 1s\n  targets:\n    - {scope: REGIONAL, region: %s, create: yes}\n"
               "    - {scope: CLOUDFRONT, create: yes}\n" % REGION)
    with Recorder(moto.port, instance) as rec:
        settings = ("agents: {follow-instances: yes}\noutputs: [{name: sns, type: sns, topic: \"%s\"}]\naws: {endpoint: %s}\n" % (
            TOPIC, rec.url)) + targets
        with Manager(args.manager, settings=settings, env=environment(creds)) as m:
            m.init().start()
            host = Host(m, m.token())
            host.send([host.block("203.0.113.5"), host.block("2001:db8::5")])
            sets = {"wafv2:CreateIPSet": 4, "wafv2:GetIPSet": 4, "wafv2:UpdateIPSet": 4, "wafv2:ListIPSets": 2, "sns:Publish": 2}
            done = wait_until(lambda: all(len({str(c) for c in rec.took(a)}) >= min(n, 4 if "wafv2" in a else 1) or a == "wafv2:ListIPSets"
                                          and rec.took(a) for a, n in sets.items()), 60, .2)
            t.check("the manager: sets made, read, written; SNS told", done is not None, sorted({c[0] for c in rec.took()}))
            m.stop()
            subprocess.run(["python3", "-c", "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db:\n    db.execute("
                            "'UPDATE agent SET instance=?, region=?', sys.argv[2:])", m.state + "/manager.db", instance, REGION], check=True)
            m.start()
            t.check("the manager: EC2 asked for instances", wait_until(lambda: rec.took("ec2:DescribeInstances"), 30, .2) is not None)
            host.close()
            log = m.log()
        t.check("moto: the role may do all of it", rec.took() and not rec.denied(), rec.denied()[:5])
        calls = rec.took()
        t.check("the manager does not complain of AWS", "AccessDenied" not in log and "Unauthorized" not in log, log[-600:])
    names = {"WafRegionalPolicy", "WafCloudFrontPolicy", "WafPolicy", "TopicPolicy", "InstancesPolicy"}
    policies = Template("manager.yaml", dict(PAIR, **EVERYTHING), stack=stack.name).policies(*names)
    refused, idle = judge(policies, calls)
    t.check("the manager's policies allow each call on its resource", not refused, refused[:5])
    t.check("and grant nothing else", not idle, idle)
    plain = Template("manager.yaml", PAIR, stack=stack.name).policies(*names)
    refused, _ = judge(plain, calls)
    t.check("what is not switched on is not granted: CloudFront, SNS, EC2", {a for a, r in refused} >= {
        "sns:Publish", "ec2:DescribeInstances", "wafv2:UpdateIPSet"} and all("global" in r for a, r in refused if "Update" in a), refused[:5])
    other = [("wafv2:UpdateIPSet", [set_arn("others")], {}), ("wafv2:DeleteIPSet", [set_arn("sekisho-v4-0")], {}),
             ("sns:Publish", [TOPIC + "2"], {}), ("wafv2:UpdateIPSet", [set_arn("sekisho-v4-0", region="ap-south-1")], {})]
    refused, _ = judge(policies, other)
    t.check("the judge refuses other sets, topics, regions and deletion", len(refused) == len(other), refused)


def test_sets_survive(t, args, moto, client_of, stack):
    """Updates of the stacks, with new tags too, leave what the manager has written; so does their end."""
    with Manager(args.manager, settings=moto.settings(targets=[{"region": REGION, "prefix": "kept", "create": True}]), env=moto.env) as m:
        m.init().start()
        host = Host(m, m.token())
        host.send([host.block("203.0.113.9", 3600)])
        sets = bed.IpSets(moto.endpoint, moto.env)
        t.check("the manager has written its set", wait_until(lambda: sets.addresses("kept-v4-0") == {"203.0.113.9/32"}, 30, .2) is not None)
        m.stop()
        host.close()
    # README.md's way to the ARNs
    arns = {f: moto.aws("wafv2", "list-ip-sets", "--scope", "REGIONAL", "--query", "IPSets[?Name=='kept-%s-0'].ARN | [0]" % f)
            for f in ("v4", "v6")}
    w = client_of("wafv2")
    _, group, _ = deploy_waf(w, {"IPv4Set1": arns["v4"], "IPv6Set1": arns["v6"]})
    t.check("waf.yaml with the manager's sets", [x["ARN"] for x in statements(w, group, "REGIONAL")[1]] == [arns["v4"], arns["v6"]])
    stack.update(tags=[("cost", "security")], VolumeSize="30")
    t.check("an update of the manager's stack, with new tags: the set is as it was", sets.addresses("kept-v4-0") == {"203.0.113.9/32"})
    stack.delete()
    t.check("its end: too", sets.addresses("kept-v4-0") == {"203.0.113.9/32"})


# ---- what the agent calls ----

DONE = (b'<CompleteLifecycleActionResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><CompleteLifecycleActionResult/>'
        b"<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></CompleteLifecycleActionResponse>")


def test_stack_agents(t, stack):
    group = stack.client_of("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[stack.physical["Group"]])
    group = group["AutoScalingGroups"][0]
    t.check("agents: two instances", len(group["Instances"]) == 2)
    data = stack.user_data()
    for name, value in {"SEKISHO_MANAGER": AGENTS["ManagerUrl"], "SEKISHO_SOURCE": "s3://%s/sekisho" % BUCKET,
                        "SEKISHO_TOKEN_PARAMETER": "/fleet/token", "SEKISHO_CA_PARAMETER": "/fleet/ca",
                        "SEKISHO_TAGS": "role=web stage=prod", "SEKISHO_LIFECYCLE_HOOK": "sekisho"}.items():
        t.check("agents: user data: %s" % name, "\n%s='%s'\n" % (name, value) in data, data[:900])
    hook = stack.resolved().of_type("AWS::AutoScaling::AutoScalingGroup")["Group"]["LifecycleHookSpecificationList"][0]
    t.check("agents: the group waits for the hook that the user data names, longer than drain needs",
            hook["LifecycleHookName"] == "sekisho" and hook["HeartbeatTimeout"] > 120 and hook["DefaultResult"] == "CONTINUE", hook)
    dist = Template("agents-asg.yaml", ALL["distributor"][1]).of_type("AWS::SSM::Association")["Package"]
    arguments = json.loads(dist["Parameters"]["additionalArguments"][0])
    known = open(os.path.join(ROOT, "packaging/ssm/common.sh"), encoding="utf-8").read()
    t.check("agents: Distributor: arguments that install.sh knows", arguments["SSM_SEKISHO_TOKEN_PARAMETER"] == "/fleet/token" and
            all(k in known for k in arguments), arguments)


def put_packages(client_of, work):
    """Into the bucket, with their sums. Returns those."""
    packages, s3 = ssm_test.make_packages(work + "/rpms", "1.2.3", ("x86_64",), ("rpm",)), client_of("s3")
    sums = ""
    for name in sorted(os.listdir(packages)):
        with open(os.path.join(packages, name), "rb") as f:
            data = f.read()
        sums += "%s  %s\n" % (hashlib.sha256(data).hexdigest(), name)
        s3.put_object(Bucket=BUCKET, Key="sekisho/" + name, Body=data)
    s3.put_object(Bucket=BUCKET, Key="sekisho/SHA256SUMS", Body=sums)
    return sums


def test_agents_user_data(t, client_of, stack, work, sums):
    """Packages from the bucket, checked; enrolled; service and drain: the program is a stand-in, rpm is not."""
    s3 = client_of("s3")
    with Recorder(stack.port, stack.instances()[0], credentials=stack.role()) as rec:
        host = ssm_test.Host(work, "rpm")
        try:
            data = stack.user_data().replace("SEKISHO_S3_ENDPOINT=''", "SEKISHO_S3_ENDPOINT='%s'" % rec.url)
            host.file("user-data", data, 0o755)
            got = host.run("/user-data", env={"AWS_EC2_METADATA_SERVICE_ENDPOINT": rec.url})
            log = got.stdout + got.stderr + host.text("var/log/sekisho-userdata.log")
            t.check("agents: the user data installs what the sums vouch for", got.returncode == 0 and host.version() == "1.2.3", log[-900:])
            calls = [c for c in host.calls() if c and c[0] == "enroll"]
            t.check("agents: it enrols with names", len(calls) == 1 and all(x in calls[0] for x in (
                AGENTS["ManagerUrl"], AGENTS["TokenParameter"], AGENTS["CaParameter"], "role=web", "stage=prod")), calls)
            t.check("agents: agent and drain are enabled", all("enable --now %s.service" % x in host.text("called.systemctl") for x in (
                "sekisho", "sekisho-drain")) and "--lifecycle-hook sekisho" in host.text("etc/sekisho/drain.conf"))
            refused, idle = judge(stack.resolved().policies("PackagesPolicy"), rec.took())
            t.check("agents: their role reads the packages, and nothing else of the bucket", rec.took() and not refused and not idle,
                    (refused, idle))
            t.check("agents: moto: the role may", not rec.denied(), rec.denied()[:3])
            s3.put_object(Bucket=BUCKET, Key="sekisho/SHA256SUMS", Body=sums.replace("0", "1"))
            host.run("rpm", "-e", "--nodeps", "sekisho", "sekisho-rules")
            got = host.run("/user-data", env={"AWS_EC2_METADATA_SERVICE_ENDPOINT": rec.url})
            t.check("agents: sums that somebody changed: nothing is installed", got.returncode != 0 and not host.version(), got.stdout)
        finally:
            host.end()


def test_agent_calls(t, args, moto, client_of, stack, work):
    """`sekisho enroll` and `sekisho drain` as user data and the drain unit call them, with the role's credentials from IMDS."""
    from uplink_role import Agent  # pylint: disable=import-outside-toplevel
    ssm = client_of("ssm")
    with Recorder(moto.port, stack.instances()[0], credentials=stack.role()) as rec, Manager(args.manager) as m:
        m.init().start()
        ssm.put_parameter(Name=AGENTS["TokenParameter"], Type="SecureString", Value=m.token())
        ssm.put_parameter(Name=AGENTS["CaParameter"], Type="String", Value=m.must("ca", "show", "--pem"))
        rec.group, folder = stack.physical["Group"], work + "/agent"
        rec.hook = lambda action, body: (200, DONE) if action == "autoscaling:CompleteLifecycleAction" else None  # moto has none
        os.mkdir(folder)
        agent = Agent(args.agent, folder, None)
        at = ["-c", agent.conf, "--imds", rec.url, "--aws-endpoint", rec.url]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}

        def run(*words):
            return subprocess.run([args.agent, *words], capture_output=True, text=True, env=clean, timeout=120)
        got = run("enroll", *at, "--manager", m.url, "--token-parameter", AGENTS["TokenParameter"], "--ca-parameter",
                  AGENTS["CaParameter"], "--if-needed", "--retry", "20s")
        t.check("agents: enrolled with the role's credentials", got.returncode == 0 and "Enrolled as" in got.stdout, got.stdout + got.stderr)
        got = run("drain", *at, "--lifecycle-hook", "sekisho")
        t.check("agents: drained, and the group told", got.returncode == 0 and "may go" in got.stdout, got.stdout + got.stderr)
    t.check("agents: moto: the role may do all of it", rec.took() and not rec.denied(), rec.denied()[:5])
    refused, idle = judge(stack.resolved().policies("AgentPolicy"), rec.took())
    t.check("agents: the policy allows each call on its resource", not refused, refused[:5])
    t.check("agents: and grants nothing else", not idle, idle)
    other = [("ssm:GetParameter", ["arn:aws:ssm:%s:%s:parameter/other" % (REGION, ACCOUNT)], {}), ("ssm:GetParameters", [
        "arn:aws:ssm:%s:%s:parameter/fleet/token" % (REGION, ACCOUNT)], {}), ("autoscaling:CompleteLifecycleAction", [
            "arn:aws:autoscaling:%s:%s:autoScalingGroup:x:autoScalingGroupName/other" % (REGION, ACCOUNT)], {})]
    refused, _ = judge(stack.resolved().policies(), other)
    t.check("agents: other parameters and groups are not theirs", len(refused) == len(other), refused)


# ---- what the manager's user data does ----

DNF = """#!/bin/sh
echo "dnf $*" >>/called
useradd -r -M -d /var/lib/sekisho-manager sekisho-manager 2>/dev/null || :
mkdir -p /etc/sekisho /var/lib/sekisho-manager
install -m 755 "/stand-in/sekisho-manager" /usr/bin/sekisho-manager
"""
# A manager of the pair: its database is not here.
STAND_IN = """#!/bin/bash
echo "sekisho-manager $*" >>/called
state=/var/lib/sekisho-manager
case "$1 $2" in
  "init "*) mkdir -p $state/ca; head -c 16 /dev/urandom | base64 >$state/ca/ca.pem; cp $state/ca/ca.pem $state/signing.key
    cp $state/ca/ca.pem $state/signing.pub ;;
  "token create") echo ske_secret ;;
  "ca show") cat $state/ca/ca.pem ;;
esac
"""


class Machine(ssm_test.Host):
    """An instance: the tools of Amazon Linux that its user data calls, with awscli as it is in build/venv."""

    def __init__(self, work, program, rec):
        super().__init__(work, "rpm")
        venv = os.path.dirname(os.path.dirname(VENV))
        for path in [ROOT] if venv.startswith(ROOT + "/") else [ROOT, venv]:
            os.makedirs(self.root + path, exist_ok=True)
            subprocess.run(["mount", "--bind", path, self.root + path], check=True)
        self.file("usr/bin/dnf", DNF, 0o755)
        os.makedirs(self.root + "/stand-in")
        if program:
            shutil.copy(program, self.root + "/stand-in/sekisho-manager")
        else:
            self.file("stand-in/sekisho-manager", STAND_IN, 0o755)
        for name in ("mkfs.xfs", "mount"):
            self.file("usr/local/sbin/" + name, '#!/bin/sh\necho "%s $*" >>/called\n' % name, 0o755)
        self.file("usr/local/sbin/blkid", "#!/bin/sh\n[ -e /formatted ]\n", 0o755)
        self.file("opt/aws/bin/cfn-signal", '#!/bin/sh\necho "cfn-signal $*" >>/called\n', 0o755)
        self.file("usr/local/bin/aws", '#!/bin/sh\nexec %s "$@"\n' % bed.venv_tool("aws"), 0o755)
        self.file("usr/bin/systemctl", '#!/bin/sh\necho "systemctl $*" >>/called\n', 0o755)
        os.mknod(self.root + "/dev/sdf", 0o660 | 0o060000, os.makedev(7, 200))
        for path in ("var/lib/sekisho-manager", "etc/sekisho"):
            shutil.rmtree(self.root + "/" + path, ignore_errors=True)
        self.rec = rec

    def boot(self, script):
        self.file("user-data", script, 0o755)
        c = self.rec.credentials
        env = environment(c, AWS_ENDPOINT_URL=self.rec.url, IMDS=self.rec.url, RETRY_GAP="0.2", RDS_CA="file:///ca-of-rds.pem",
                          AWS_CONFIG_FILE="/nonexistent")
        self.file("ca-of-rds.pem", "a CA\n")
        keep = ("AWS_", "IMDS", "RETRY_GAP", "RDS_CA")
        got = self.run("/user-data", env={k: v for k, v in env.items() if k.startswith(keep)})
        got.all = got.stdout + got.stderr
        return got


def test_user_data_single(t, args, moto, client_of, stack, work):
    with Recorder(moto.port, stack.instances()[0], credentials=stack.role(), tags={"sekisho-manager": stack.name}) as rec:
        host = Machine(work, args.manager, rec)
        try:
            got = host.boot(stack.user_data())
            called = host.text("called")
            t.check("single: the user data comes to its end", got.returncode == 0 and "cfn-signal -e 0" in called, got.all[-800:])
            t.check("single: volume, package, service, in that order", re.findall(r"^(?:mkfs.xfs|mount|dnf|systemctl enable --now sekisho-m)",
                    called, re.M) == ["mkfs.xfs", "mount", "dnf", "systemctl enable --now sekisho-m"], called)
            single_published(t, client_of, stack, host)
            t.check("single: no token in the log", "ske_" not in got.all)
            t.check("single: nothing is left in /run", [n for n in os.listdir(host.root + "/run") if n.startswith("sekisho")] == [])
            ca = host.text("var/lib/sekisho-manager/ca/ca.pem")
            host.flag("formatted")
            host.flag("called", False)
            client_of("ec2").detach_volume(VolumeId=stack.physical["Volume"], InstanceId=rec.instance)
            got = host.boot(stack.user_data())  # what an instance does that comes after it
            t.check("single: the next instance keeps the volume and the CA", got.returncode == 0 and "mkfs" not in host.text("called") and
                    host.text("var/lib/sekisho-manager/ca/ca.pem") == ca, got.all[-500:])
            setup_policies(t, stack, rec, "single", {"SetupPolicy", "VolumePolicy"})
        finally:
            host.end()


def single_published(t, client_of, stack, host):
    ssm = client_of("ssm")
    token = ssm.get_parameter(Name="/%s/token" % stack.name, WithDecryption=True)["Parameter"]
    ca = ssm.get_parameter(Name="/%s/ca" % stack.name)["Parameter"]["Value"]
    t.check("single: token (SecureString) and CA are where hosts look for them", token["Type"] == "SecureString" and
            token["Value"].startswith("ske_") and ca.strip() == host.text("var/lib/sekisho-manager/ca/ca.pem").strip(), ca)
    conf = os.stat(host.root + "/etc/sekisho/manager.yaml")
    t.check("single: the configuration is read by the manager, and not by all", oct(conf.st_mode & 0o777) == "0o640" and conf.st_gid != 0)
    got = host.run("sekisho-manager", "token", "list")
    t.check("single: the manager takes it, and knows the token", got.returncode == 0 and "parameter /%s/token" % stack.name in got.stdout,
            got.stdout + got.stderr)
    t.check("single: AWS WAF as the parameters say", "scope: REGIONAL, region: %s, prefix: sekisho" % REGION in host.text(
        "etc/sekisho/manager.yaml"), host.text("etc/sekisho/manager.yaml"))


def setup_policies(t, stack, rec, what, names):
    t.check(what + ": moto: the role may do all of it", rec.took() and not rec.denied(), rec.denied()[:5])
    refused, idle = judge(stack.resolved().policies(*names), rec.took())
    t.check(what + ": its policies allow each call of the user data on its resource", not refused, refused[:5])
    t.check(what + ": and grant nothing else", not idle, idle)


def test_user_data_pair(t, args, moto, client_of, stack, work):
    """Two instances that start in the same moment: one CA."""
    asked, first, gone = [], [], json.dumps({"__type": "ResourceExistsException", "message": "A resource with the ID exists"}).encode()

    both = threading.Barrier(2)

    def once(action, body):
        """The first two find no CA, both. And moto takes a second content for a version; AWS does not."""
        if action == "secretsmanager:GetSecretValue" and json.loads(body)["SecretId"] == stack.made["StateSecret"]:
            asked.append(1)
            if len(asked) <= 2:
                both.wait(120)
        if action == "secretsmanager:PutSecretValue":
            first.append(json.loads(body)["ClientRequestToken"])
            return (400, gone) if first.count(first[-1]) > 1 else None
        return None
    with Recorder(moto.port, stack.instances()[0], credentials=stack.role()) as rec:
        rec.hook = once
        hosts = [Machine(work, None, rec) for _ in range(2)]
        try:
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                got = list(pool.map(lambda h: h.boot(stack.user_data()), hosts))
            t.check("pair: both come to their end", [g.returncode for g in got] == [0, 0], (got[0].all + got[1].all)[-800:])
            cas = [h.text("var/lib/sekisho-manager/ca/ca.pem") for h in hosts]
            t.check("pair: each has made a CA, as nobody had", all("sekisho-manager init" in h.text("called") for h in hosts) and len(first) == 2)
            t.check("pair: one CA, one signing key", cas[0] == cas[1] and cas[0] and
                    hosts[0].text("var/lib/sekisho-manager/signing.key") == hosts[1].text("var/lib/sekisho-manager/signing.key"), cas)
            third = Machine(work, None, rec)
            hosts.append(third)
            g = third.boot(stack.user_data())
            t.check("pair: one that comes later takes it, and makes none", g.returncode == 0 and "sekisho-manager init" not in third.text(
                "called") and third.text("var/lib/sekisho-manager/ca/ca.pem") == cas[0], g.all[-500:])
            pair_configuration(t, args, client_of, stack, third, got)
            setup_policies(t, stack, rec, "pair", {"SetupPolicy", "SecretsPolicy", "IdentityPolicy"})
        finally:
            for h in hosts:
                h.end()


def pair_configuration(t, args, client_of, stack, host, got):
    sm = client_of("secretsmanager")
    word = json.loads(sm.get_secret_value(SecretId=stack.made["DbSecret"])["SecretString"])["password"]
    text = host.text("etc/sekisho/manager.yaml")
    t.check("pair: the database, with its certificate verified", "sslmode=verify-full" in text and word in text)
    t.check("pair: its password is in no log", word not in got[0].all + got[1].all)
    t.check("pair: identity documents, SNS, CloudFront as the parameters say", "required: yes" in text and TOPIC in text and
            "scope: CLOUDFRONT" in text, text.replace(word, "..."))
    shared = tarfile.open(fileobj=io.BytesIO(base64.b64decode(sm.get_secret_value(SecretId=stack.made["StateSecret"])["SecretString"])))
    t.check("pair: the secret has CA and signing key", {"ca/ca.pem", "signing.key", "signing.pub"} <= set(shared.getnames()))
    shutil.copy(args.manager, host.root + "/usr/bin/real-manager")
    done = host.run("/usr/bin/real-manager", "init", "--set", "store=sqlite:/tmp/x/manager.db", "--set", "state-dir=/tmp/x")
    t.check("pair: a manager takes the configuration", done.returncode == 0, done.stdout + done.stderr)


# ----

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--manager", required=True)
    ap.add_argument("--agent", required=True)
    args = ap.parse_args()
    args.manager, args.agent = os.path.abspath(args.manager), os.path.abspath(args.agent)
    t = Tally("cloudformation")
    test_lint(t)
    test_rules(t)
    test_judge(t)
    if not bed.venv_tool("moto_server"):
        t.skip("templates in moto", "no moto in build/venv")
        return t.end()
    import boto3  # pylint: disable=import-outside-toplevel
    work = tempfile.mkdtemp(prefix="sekisho-cfn-")
    try:
        if os.geteuid() == 0:
            subprocess.run(["mount", "-t", "tmpfs", "sekisho-cfn", work], check=True)
        with Moto() as moto:
            def client_of(service, region=REGION):
                return boto3.client(service, region_name=region, endpoint_url=moto.endpoint,
                                    aws_access_key_id=moto.env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=moto.env["AWS_SECRET_ACCESS_KEY"])
            with_moto(t, args, moto, client_of, work)
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-R", work], check=False)
        os.rmdir(work)
    return t.end()


def with_moto(t, args, moto, client_of, work):
    test_waf(t, moto, client_of)
    rpm = b"not really an RPM"
    s3 = client_of("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=rpm)
    cert = work + "/cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", work + "/key.pem", "-out", cert, "-days", "30",
                    "-subj", "/C=US/O=A Test"], check=True, capture_output=True)
    with open(cert, encoding="ascii") as f:
        s3.put_object(Bucket=BUCKET, Key=CERTIFICATES, Body="# region: %s\n%s" % (REGION, f.read()))
    params = {"PackageSha256": hashlib.sha256(rpm).hexdigest()}
    single = Stack(client_of, "one", "manager.yaml", dict(SINGLE, **params), moto.port)
    pair = Stack(client_of, "two", "manager.yaml", dict(PAIR, Identity="required", IdentityKey=CERTIFICATES, TopicArn=TOPIC,
                                                        WafCloudFront="yes", **params), moto.port)
    every = Stack(client_of, "all", "manager.yaml", dict(SINGLE, TopicArn=TOPIC, Identity="follow", IdentityKey=CERTIFICATES, WafCloudFront="yes",
                                                                **params), moto.port)
    sums = put_packages(client_of, work) if shutil.which("rpmbuild") else ""
    web = Stack(client_of, "web", "agents-asg.yaml", dict(AGENTS, FleetTags="role=web,stage=prod",
                                                          SumsSha256=hashlib.sha256(sums.encode()).hexdigest()), moto.port)
    test_stack_agents(t, web)
    bare = Stack(client_of, "bare", "agents-asg.yaml", dict(AGENTS, InstallBy="distributor"), moto.port)
    t.check("distributor: the stack, without user data; the association is one that AWS's model knows", bare.instances() and
            "UserData" not in str(client_of("ec2").describe_launch_template_versions(LaunchTemplateId=bare.physical["LaunchTemplate"]))
            and not bare.unknown, bare.unknown)
    test_stack_single(t, single)
    test_stack_pair(t, pair)
    test_manager_calls(t, args, moto, client_of, every)
    if os.geteuid() == 0:
        test_agent_calls(t, args, moto, client_of, web, work)
        if sums:
            test_agents_user_data(t, client_of, web, work, sums)
        else:
            t.skip("agents: the user data", "rpmbuild is not installed")
        test_user_data_single(t, args, moto, client_of, single, work)
        test_user_data_pair(t, args, moto, client_of, pair, work)
    else:
        t.skip("the agent, and the manager's user data", "needs root for a mount namespace")
    test_sets_survive(t, args, moto, client_of, every)


if __name__ == "__main__":
    sys.exit(main())
