#!/usr/bin/env python3
"""docs/manager-api.yaml and the server say the same: every operation with every status that is named for it is brought
about, and each answer is of its schema; no path is in one and not in the other."""
import argparse
import http.client
import os
import sqlite3
import sys
import threading
import time

from api_bed import Agent, Answer, Client, Operator, Region, Server, Tally, block, event, make_csr, need_cryptography

need_cryptography("api_contract")
try:
    import yaml
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012
except ImportError as missing:
    t = Tally("api_contract")
    t.skip("everything", f"{missing}: build/venv is not there")
    sys.exit(t.end())

YAML = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "manager-api.yaml")
METHODS = ("get", "post", "put", "delete", "patch")


class Contract:
    def __init__(self, tally):
        with open(YAML) as f:
            self.doc = yaml.safe_load(f)
        self.tally, self.seen = tally, set()
        resource = Resource(contents=self.doc, specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:api", resource)
        self.operations = {op["operationId"]: (method.upper(), path, op)
                           for path, item in self.doc["paths"].items() for method, op in item.items()
                           if method in METHODS}

    def resolve(self, node):
        while "$ref" in node:
            where = self.doc
            for part in node["$ref"].removeprefix("#/").split("/"):
                where = where[part]
            node = where
        return node

    def errors(self, schema, value):
        absolute = _absolute(schema)
        return [e.message for e in Draft202012Validator(absolute, registry=self.registry).iter_errors(value)]

    def judge(self, op, answer, status):
        """The answer is what was wanted, and what the document says."""
        documented = self.operations[op][2]["responses"].get(str(answer.status))
        what = f"{op} {status}"
        if answer.status != status or documented is None:
            return self.tally.check(what, False, answer)
        documented = self.resolve(documented)
        content = documented.get("content", {}).get("application/json")
        wrong = []
        if content:
            if answer.headers.get("Content-Type") != "application/json" or answer.json is None:
                wrong = ["not JSON"]
            else:
                wrong = self.errors(content["schema"], answer.json)
        elif answer.body:
            wrong = ["a body"]
        for name, header in documented.get("headers", {}).items():
            if self.resolve(header).get("required") and name not in answer.headers:
                wrong.append("without " + name)
        self.seen.add((op, status))
        return self.tally.check(what, not wrong, f"{wrong[:3]} {answer}")


def _absolute(node):
    if isinstance(node, dict):
        return {k: "urn:api" + v if k == "$ref" else _absolute(v) for k, v in node.items()}
    return [_absolute(v) for v in node] if isinstance(node, list) else node


def raw(client, lines, body=b""):
    """Exactly these lines; the first answer."""
    s = client.raw()
    s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    r = http.client.HTTPResponse(s)
    r.begin()
    answer = Answer(r.status, r.headers, r.read())
    s.close()
    return answer


class Fleet:
    def __init__(self, server):
        self.server = server
        self.agent, self.other = server.agent("web-1", tags={"role": "web"}), server.agent("web-2")
        self.reader = Operator(server, server.token_for("operator")["secret"])
        self.admin, self.anybody = server.operator, Client(server)

    def who(self, c, op):
        """The client that may call this operation, and its extra headers for raw requests."""
        path = c.operations[op][1]
        if path.startswith("/v1/operator/"):
            return self.admin
        return self.anybody if path in ("/v1/enroll", "/healthz") else self.agent

    def path(self, c, op):
        path = c.operations[op][1].replace("{id}", self.other.id if "agents" in c.operations[op][1] else "Tnone")
        return path + ("?target=203.0.113.1" if op == "entry" else "")


def good(c, f):
    s, a, admin = f.server, f.agent, f.admin
    c.judge("health", f.anybody.get("/healthz"), 200)
    fresh = Agent(s, s.dir, "web-3")
    c.judge("enroll", fresh.enroll(s.token_for(tags={"env": "test"}, note="für alle", uses=None)["secret"],
                                   tags={"a": "b"}, unknown=1), 201)
    same = {"token": s.token_for(uses=1)["secret"], "csr": make_csr(fresh.private), "host": "web-4", "version": "0.1.0"}
    twice = [f.anybody.post("/v1/enroll", same) for _ in range(2)]
    for answer in twice:
        c.judge("enroll", answer, 201)
    c.tally.check("a request that comes again is the same agent's, and takes no further use", twice[0].json["agent"] == twice[1].json[
        "agent"] and twice[0].json["certificate"] != twice[1].json["certificate"], [x.json for x in twice])
    other = f.anybody.post("/v1/enroll", dict(same, csr=make_csr(fresh.private)))
    c.tally.check("another request is another one", other.status == 403 and other.json["error"]["code"] == "token_used_up", other.json)
    s.operator.post(f"/v1/operator/agents/{twice[0].json['agent']}/retire", {})
    late = f.anybody.post("/v1/enroll", same)
    c.tally.check("and not for one that has left", late.status == 403 and late.json["error"]["code"] == "token_used_up", late.json)
    c.judge("renew", a.post("/v1/renew", {"csr": make_csr(a.private)}), 200)
    c.judge("heartbeat", a.post("/v1/heartbeat", {"version": "0.1.0", "uptime_s": 9, "blocks": 2, "rules_version": 0,
                                                  "policy_version": 0, "status": {"alerts": 5}}), 200)
    c.judge("feed", a.get("/v1/feed"), 200)
    c.judge("events", a.batch(block(1, "203.0.113.1"), block(2, "2001:db8:5::/64"), event(), {"type": "no"}), 200)
    c.judge("events", a.post("/v1/events", {"spool": a.spool, "seq": 1, "items": []}), 200)
    c.judge("events", a.post("/v1/events", {"spool": a.spool, "seq": 9, "items": []}), 409)
    c.judge("bundlePolicy", a.get("/v1/bundles/policy"), 404)
    c.judge("bundleRules", a.get("/v1/bundles/rules"), 404)
    s.ask("policy")
    version = s.ask("rules")["version"]
    c.judge("bundlePolicy", a.get("/v1/bundles/policy"), 200)
    c.judge("bundleRules", a.get("/v1/bundles/rules"), 200)
    deadline = time.time() + 5
    while a.post("/v1/heartbeat", {"version": "1"}).json["rules_version"] != version and time.time() < deadline:
        time.sleep(0.1)
    answer = a.get("/v1/feed")
    c.judge("feed", answer, 200)
    c.tally.check("the feed tells the versions of bundles that another process has put in",
                  answer.json["rules_version"] == version and answer.json["policy_version"] == version - 1, answer)
    c.judge("entry", a.get("/v1/entry?target=203.0.113.1"), 200)
    c.judge("listAgents", admin.get("/v1/operator/agents?state=active"), 200)
    c.judge("getAgent", admin.get(f"/v1/operator/agents/{a.id}"), 200)
    c.judge("listBlocks", admin.get(f"/v1/operator/blocks?in_force=true&agent={a.id}&target=203.0.113.1&limit=5"), 200)
    c.judge("block", admin.post("/v1/operator/blocks", {"target": "198.51.100.0/24", "seconds": 60, "reason": "ü"}),
            201)
    c.judge("listEntries", f.reader.get("/v1/operator/entries"), 200)
    answer = a.get("/v1/feed")
    c.judge("feed", answer, 200)
    c.tally.check("the feed has all three entries", len(answer.json["entries"]) == 3, answer)
    c.judge("unblock", admin.post("/v1/operator/unblock", {"target": "198.51.100.0/24"}), 200)
    answer = a.get(f"/v1/feed?epoch={answer.json['epoch']}&after={answer.json['seq']}")
    c.judge("feed", answer, 200)
    c.tally.check("and then that one is lifted", answer.json["entries"] == [{"op": "del", "target": "198.51.100.0/24"}],
                  answer)
    c.judge("listEvents", f.reader.get(f"/v1/operator/events?agent={a.id}&type=alert&after=0"), 200)
    c.judge("listTokens", f.reader.get("/v1/operator/tokens"), 200)
    made = admin.post("/v1/operator/tokens", {"kind": "operator", "role": "admin", "seconds": 60, "uses": 3})
    c.judge("createToken", made, 201)
    c.judge("revokeToken", admin.request("DELETE", f"/v1/operator/tokens/{made.json['id']}"), 204)
    c.judge("listAudit", f.reader.get("/v1/operator/audit?limit=1000"), 200)
    c.judge("waf", f.reader.get("/v1/operator/waf"), 200)
    c.judge("revokeAgent", admin.post(f"/v1/operator/agents/{fresh.id}/revoke", {}), 204)
    c.judge("retireAgent", admin.post(f"/v1/operator/agents/{fresh.id}/retire", {}), 409)
    leaving = s.agent()
    c.judge("retireAgent", admin.request("POST", f"/v1/operator/agents/{leaving.id}/retire"), 204)
    leaving = s.agent()
    c.judge("retire", leaving.post("/v1/retire", {}), 204)
    for op in c.operations:
        if c.who_is_agent(op) and op != "renew":
            c.judge(op, call(c, f, op, leaving), 403)
    c.judge("renew", leaving.post("/v1/renew", {"csr": make_csr(leaving.private)}), 403)


GOOD = {"enroll": {"token": "ske_x", "csr": "x", "host": "h", "version": "1"}, "heartbeat": {"version": "1"},
        "events": {"spool": "s", "seq": 1, "items": []}, "retire": {}, "renew": {"csr": "x"},
        "block": {"target": "203.0.113.77", "seconds": 9}, "unblock": {"target": "203.0.113.77"},
        "createToken": {"kind": "enrol"}}


def call(c, f, op, client, body=None, headers=None):
    method = c.operations[op][0]
    body = GOOD.get(op) if body is None else body
    return client.request(method, f.path(c, op), body, headers=headers)


def bad(c, f):
    """What every operation refuses alike."""
    for op, (method, _, spec) in c.operations.items():
        documented, client, path = spec["responses"], f.who(c, op), f.path(c, op)
        auth = [f"Authorization: Bearer {client.token}"] if isinstance(client, Operator) else []
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", *auth]
        typed = head + ["Content-Type: application/json"]
        if op != "enroll" and "401" in documented:
            c.judge(op, call(c, f, op, f.anybody), 401)
        c.judge(op, raw(client, [*head, "Host: other"]), 400)
        c.judge(op, raw(client, [*typed, "Content-Length: 2000000"], b"x" * 2000000), 413)
        if "411" in documented:
            c.judge(op, raw(client, [*typed, "Transfer-Encoding: chunked"], b"0\r\n\r\n"), 411)
        if "415" in documented:
            c.judge(op, client.request(method, path, "{}", headers={"Content-Type": "text/plain"}), 415)
            c.judge(op, client.request(method, path, "{", headers={"Content-Type": "application/json"}), 400)
        if "403" in documented and c.operations[op][1].startswith("/v1/operator/"):
            c.judge(op, call(c, f, op, f.reader), 403)
        for parameter in spec.get("parameters", []):
            name = c.resolve(parameter)["name"]
            c.judge(op, client.request(method, f"{path.split('?')[0]}?{name}=%01%27"), 400)
        wrong = client.request("PATCH", path)
        c.tally.check(f"{op}: another method is 405 with Allow",
                      wrong.status == 405 and method in wrong.headers["Allow"] and wrong.code == "method_not_allowed",
                      wrong)


def special(c, f):
    s, admin = f.server, f.admin
    joining = Agent(s, s.dir, "late")
    c.judge("enroll", joining.enroll("ske_nonsense"), 401)
    used = s.token_for()["secret"]
    joining.enroll(used)
    c.judge("enroll", Agent(s, s.dir, "later").enroll(used), 403)
    nobody = "A" + "B" * 26
    c.judge("getAgent", admin.get(f"/v1/operator/agents/{nobody}"), 404)
    c.judge("revokeAgent", admin.post(f"/v1/operator/agents/{nobody}/revoke", {}), 404)
    c.judge("retireAgent", admin.post(f"/v1/operator/agents/{nobody}/retire", {}), 404)
    c.judge("unblock", admin.post("/v1/operator/unblock", {"target": "203.0.113.99"}), 404)
    c.judge("revokeToken", admin.request("DELETE", "/v1/operator/tokens/Tnone"), 404)
    c.judge("entry", f.agent.get("/v1/entry?target=203.0.113.99"), 404)
    c.judge("block", admin.post("/v1/operator/blocks", {"target": "192.0.2.9", "seconds": 9}), 403)
    answer = f.anybody.request("OPTIONS", "/v1/events")
    c.tally.check("OPTIONS tells what is allowed", answer.status == 204 and answer.headers["Allow"] == "OPTIONS, POST",
                  answer)
    answer = f.anybody.request("HEAD", "/healthz")
    c.tally.check("HEAD is GET without the body", answer.status == 200 and not answer.body, answer)
    answer = f.anybody.get("/v2/nothing")
    c.tally.check("another path is 404 in JSON", answer.status == 404 and answer.code == "not_found", answer)


def too_often(c, program):
    """Each operation on a server that allows next to nothing."""
    with Server(program, "-a", "1", "-A", "1") as s:
        f = Fleet.__new__(Fleet)
        f.server, f.admin, f.anybody = s, s.operator, Client(s)
        f.agent = Agent(s, s.dir, "one")
        secret = s.token_for()["secret"]
        f.agent.enroll(secret)
        f.other = f.agent
        for op in c.operations:
            client = f.who(c, op)
            for _ in range(15):
                answer = call(c, f, op, client)
                if answer.status == 429:
                    break
            c.judge(op, answer, 429)


def without_store(c, f):
    """Somebody holds the database: nothing is promised."""
    db = sqlite3.connect(os.path.join(f.server.dir, "manager.db"), timeout=20)
    db.execute("BEGIN EXCLUSIVE")
    answers, threads = {}, []

    def one(op, turn):
        client = f.who(c, op)
        if client is f.agent and turn % 2:
            client = f.other  # of one agent, six requests may be under way
        mine = Client(f.server, client.cert, client.key)
        if isinstance(client, Operator):
            mine = Operator(f.server, client.token)
        answers[op] = call(c, f, op, mine, headers={})
    for op in c.operations:
        if op != "health":
            threads.append(threading.Thread(target=one, args=(op, len(threads))))
            threads[-1].start()
    for thread in threads:
        thread.join()
    answers["health"] = f.anybody.get("/healthz")
    db.rollback()
    db.close()
    for op, answer in answers.items():
        c.judge(op, answer, 503)
    deadline = time.time() + 10
    while f.anybody.get("/healthz").status != 200 and time.time() < deadline:
        time.sleep(0.2)
    c.judge("health", f.anybody.get("/healthz"), 200)


def instances(c, program):
    """One join an instance; and a server without AWS WAF."""
    region = Region()
    with Server(program, regions=[region]) as s:
        first = s.agent(identity=region.document("i-0123456789abcdef0"))
        again = Agent(s, s.dir, "again")
        c.judge("enroll", again.enroll(s.token_for()["secret"], identity=region.document("i-0123456789abcdef0")), 409)
        s.operator.post(f"/v1/operator/agents/{first.id}/retire", {})
        c.judge("enroll", again.enroll(s.token_for()["secret"], identity=region.document("i-0123456789abcdef0")), 201)
        c.judge("revokeAgent", s.operator.post(f"/v1/operator/agents/{first.id}/revoke", {}), 409)
        c.judge("waf", s.operator.get("/v1/operator/waf"), 404)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="tests/unit/api/api_server")
    args = parser.parse_args()
    t = Tally("api_contract")
    c = Contract(t)
    c.who_is_agent = lambda op: "security" not in c.operations[op][2]
    with Server(args.server, "-w", "-n", "192.0.2.0/24") as s:
        served = {(method, path) for method, path in s.ask("routes")}
        written = {(method, path) for method, path, _ in c.operations.values()}
        t.check("the document has every path of the server", not served - written, served - written)
        t.check("the server has every path of the document", not written - served, written - served)
        f = Fleet(s)
        good(c, f)
        bad(c, f)
        special(c, f)
        without_store(c, f)
        t.check("the server ends well", s.stop(), s.read_log()[-2000:])
    too_often(c, args.server)
    instances(c, args.server)
    wanted = {(op, int(status)) for op, (_, _, spec) in c.operations.items() for status in spec["responses"]}
    missing = wanted - c.seen
    t.check("every status of every operation was brought about", not missing, sorted(missing))
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
