"""Reads CloudFormation templates for tests: parameters, conditions and functions resolved, resources that are not made left out;
and a small judge of IAM policies. What it does not know it refuses."""
import copy
import fnmatch
import functools
import os
import re

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "packaging/cloudformation")
ACCOUNT = "123456789012"
NOTHING = object()


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    pass


def _tag(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else "Fn::" + suffix: value}


Loader.add_multi_constructor("!", _tag)


@functools.lru_cache
def parsed(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        return yaml.load(f, Loader)  # noqa: S506: a SafeLoader


def load(name):
    return copy.deepcopy(parsed(name))


class Template:
    """One template with parameters; values of its resources are "<Logical>" and "<Logical.Attribute>" unless `made` has them."""

    def __init__(self, name, params, region="eu-west-1", stack="fleet", made=None):
        self.doc, self.made = load(name), made or {}
        self.pseudo = {"AWS::Region": region, "AWS::StackName": stack, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws",
                       "AWS::NoValue": NOTHING}
        self.params = {}
        for key, p in self.doc["Parameters"].items():
            value = params.get(key, p.get("Default"))
            if value is None:
                raise ValueError("%s: parameter %s is wanted" % (name, key))
            if isinstance(value, str) and "AllowedPattern" in p and not re.fullmatch(p["AllowedPattern"], value):
                raise ValueError("%s: parameter %s: %s" % (name, key, value))
            if "AllowedValues" in p and value not in p["AllowedValues"]:
                raise ValueError("%s: parameter %s: %s" % (name, key, value))
            if ("List" in p["Type"]) and isinstance(value, str):
                value = value.split(",")
            self.params[key] = value
        if set(params) - set(self.params):
            raise ValueError("%s has no parameter %s" % (name, set(params) - set(self.params)))
        self.resources = {k: dict(r, Properties=self.value(r.get("Properties", {}))) for k, r in self.doc["Resources"].items()
                          if "Condition" not in r or self.condition(r["Condition"])}

    def condition(self, name):
        return self.value(self.doc["Conditions"][name])

    def ref(self, name):
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.params:
            return self.params[name]
        if name not in self.doc["Resources"]:
            raise ValueError("Ref: no %s" % name)
        return self.made.get(name, "<%s>" % name)

    def sub(self, text):
        def one(m):
            name = m.group(1)
            return str(self.ref(name) if "." not in name else self.attribute(*name.split(".", 1)))
        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", one, text)

    def attribute(self, name, attribute):
        if name not in self.doc["Resources"]:
            raise ValueError("GetAtt: no %s" % name)
        return self.made.get(name + "." + attribute, "<%s.%s>" % (name, attribute))

    def function(self, key, v):
        if key == "Fn::If":
            return self.value(v[1] if self.condition(v[0]) else v[2])
        if key == "Fn::GetAtt":
            return self.attribute(*v)
        if key == "Fn::Sub":
            return self.sub(v)
        v = self.value(v)
        if key == "Fn::Equals":
            return str(v[0]) == str(v[1])
        if key == "Fn::Not":
            return not v[0]
        if key == "Fn::And":
            return all(v)
        if key == "Fn::Or":
            return any(v)
        if key == "Fn::Join":
            return v[0].join(str(x) for x in v[1])
        if key == "Fn::Split":
            return v[1].split(v[0])
        if key == "Fn::Select":
            return v[1][int(v[0])]
        if key == "Fn::Base64":
            return v  # tests read the text
        raise ValueError(key)

    def value(self, v):
        if isinstance(v, dict):
            if len(v) == 1:
                key = next(iter(v))
                if key == "Ref":
                    return self.ref(v[key])
                if key == "Condition" and isinstance(v[key], str):
                    return self.condition(v[key])
                if key.startswith("Fn::"):
                    return self.function(key, v[key])
            out = {k: self.value(x) for k, x in v.items()}
            return {k: x for k, x in out.items() if x is not NOTHING}
        if isinstance(v, list):
            return [x for x in map(self.value, v) if x is not NOTHING]
        return v

    def of_type(self, kind):
        return {k: r["Properties"] for k, r in self.resources.items() if r["Type"] == kind}

    def user_data(self):
        return next(iter(self.of_type("AWS::EC2::LaunchTemplate").values()))["LaunchTemplateData"].get("UserData", "")

    def policies(self, *names):
        """The statements of inline policies, of all or those: [(policy, statement)]."""
        return [(k, s) for k, p in self.of_type("AWS::IAM::Policy").items() if not names or k in names
                for s in p["PolicyDocument"]["Statement"]]


# ---- IAM ----

def as_list(v):
    return v if isinstance(v, list) else [v]


def matches(pattern, text):
    """IAM's wildcards: * and ?; brackets are nothing special."""
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def holds(condition, context):
    for operator, wanted in (condition or {}).items():
        if operator != "StringEquals":
            raise ValueError("condition " + operator)
        for key, values in wanted.items():
            if context.get(key) not in as_list(values):
                return False
    return True


def judge(statements, calls):
    """calls: (action, [resources], {condition keys}). Returns (calls that are not allowed, grants that no call has used)."""
    grants = {(name, action, resource, str(s.get("Condition", ""))) for name, s in statements for action in as_list(s["Action"])
              for resource in as_list(s["Resource"])}
    used, refused = set(), []
    for action, resources, context in calls:
        for resource in resources:
            fits = {(name, a, r, str(s.get("Condition", ""))) for name, s in statements if holds(s.get("Condition"), context)
                    for a in as_list(s["Action"]) for r in as_list(s["Resource"]) if matches(a, action) and matches(r, resource)}
            used |= fits
            if not fits:
                refused.append((action, resource))
    return refused, sorted(grants - used)
