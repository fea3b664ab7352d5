#!/usr/bin/env python3
"""sekisho-manager run: simulated hosts enrol, what one blocks reaches the other and the IP sets of moto; verbs of the
command line while it serves; SIGHUP, restart, kill."""
import argparse
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time

from bed import REGION, Host, IpSets, Manager, Moto, Tally, venv_tool, wait_until


def entries_of(answer):
    return {e["target"]: e for e in answer[1]["entries"]}


def first_feed(host):
    return host.get("/v1/feed?after=0&wait=0")


def fleet(t, m):
    token = m.token("--uses", "2", "--tag", "role=web")
    a, b = Host(m, token, "web-1"), Host(m, token, "web-2")
    rows = {r["host"]: r for r in m.json("agents")}
    t.check("two hosts have enrolled with one token", set(rows) == {"web-1", "web-2"} and
            rows["web-1"]["tags"] == {"role": "web"} and rows["web-1"]["state"] == "active", rows)
    try:
        Host(m, token, "web-3")
        t.check("a third one may not", False)
    except RuntimeError as e:
        t.check("a third one may not", "403 " in str(e) and "token_used_up" in str(e), e)
    t.check("its ID and its name find an agent", m.json("agent", a.id)["host"] == "web-1" and
            m.json("agent", "web-2")["id"] == b.id)
    return a, b


def blocks(t, m, a, b):
    feed = first_feed(b)[1]
    got = []

    def poll():
        began = time.monotonic()
        answer = b.get(f"/v1/feed?epoch={feed['epoch']}&after={feed['seq']}&wait=20")
        got.append((answer, time.monotonic() - began))
    waiting = threading.Thread(target=poll)
    waiting.start()
    time.sleep(0.5)
    status, answer = a.send([a.block("203.0.113.5", 60, "b1")])
    waiting.join(30)
    t.check("a host's block is taken", status == 200 and answer["seq"] == 1 and not answer["duplicate"], (status, answer))
    t.check("the other host's poll ends with it", got and "203.0.113.5" in entries_of(got[0][0]) and got[0][1] < 3, got)
    m.must("block", "203.0.113.6", "--for", "1h", "--reason", "by hand")
    t.check("a block of the command line is in the feed",
            wait_until(lambda: "203.0.113.6" in entries_of(first_feed(b)), 3) is not None)
    t.check("entries and blocks name the host", any(r["host"] == "web-1" and r["target"] == "203.0.113.5"
                                                    for r in m.json("entries") + m.json("blocks")))
    m.must("unblock", "203.0.113.5")
    t.check("unblocked: gone from the feed",
            wait_until(lambda: "203.0.113.5" not in entries_of(first_feed(b)), 3) is not None)
    a.send([{"type": "event", "time_ms": int(time.time() * 1000),
             "event": {"event_type": "alert", "src_ip": "203.0.113.5", "alert": {"signature": "x \u001b[2J", "signature_id": 1}}}])
    rows = m.json("events", "--type", "alert")
    t.check("an alert is among the events, escaped for people", len(rows) == 1 and "\x1b" not in m.must("events"), rows)


def waf(t, m, moto):
    sets = IpSets(moto.endpoint, moto.env)
    took = wait_until(lambda: "203.0.113.6/32" in (sets.addresses("sekisho-v4-0") or ()), 20)
    t.check("what the fleet blocks is in the IP set, as botocore reads it", took is not None, sets.addresses("sekisho-v4-0"))
    m.must("block", "2001:db8::77", "--for", "1h")
    t.check("IPv6 in its own", wait_until(lambda: any(p.startswith("2001:db8") for p in sets.addresses("sekisho-v6-0") or ()),
                                          10) is not None, sets.addresses("sekisho-v6-0"))
    m.must("unblock", "2001:db8::77")
    took = wait_until(lambda: not sets.addresses("sekisho-v6-0"), 10)
    t.check("and out of it", took is not None)
    wait_until(lambda: m.json("waf", "status")["converged"], 15)
    s = m.json("waf", "status")
    mine = next(x for x in s["sets"] if x["set"] == "sekisho-v4-0")
    t.check("waf status", s["converged"] and mine["ours"] == 1 and mine["foreign"] == 0 and mine["region"], s)
    done = m.run("waf", "plan")
    t.check("waf plan has nothing to do", done.returncode == 0 and "0 to add, 0 to remove" in done.stdout, done)
    done = m.run("waf", "apply")
    t.check("waf apply is the running manager's", done.returncode == 1 and "a running manager" in done.stderr, done)


def where(t, a):
    status, answer = a.get("/v1/entry?target=203.0.113.6")
    t.check("a host learns where an address is blocked", status == 200 and
            [w["set"] for w in answer["waf"]] == ["sekisho-v4-0"], answer)


def without_run(t, m, moto):
    """The command line writes when no manager runs."""
    sets = IpSets(moto.endpoint, moto.env)
    m.must("block", "203.0.113.8", "--for", "1h")
    done = m.run("waf", "plan")
    t.check("waf plan shows what is to come", done.returncode == 0 and "+ 203.0.113.8" in done.stdout and
            " 0 to remove" in done.stdout, done)
    t.check("and writes nothing", "203.0.113.8/32" not in sets.addresses("sekisho-v4-0"))
    done = m.run("waf", "apply")
    t.check("waf apply writes", done.returncode == 0 and "203.0.113.8/32" in sets.addresses("sekisho-v4-0"), done)
    m.must("unblock", "203.0.113.8")
    m.must("waf", "apply")
    t.check("and removes", "203.0.113.8/32" not in sets.addresses("sekisho-v4-0"))


def certificate_served(m):
    done = subprocess.run(["openssl", "s_client", "-connect", f"{m.address}:{m.port}", "-CAfile", m.ca_file, "-showcerts"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout


def reload(t, m, a):
    a.get("/v1/feed?after=0&wait=0")  # its connection is open
    before = certificate_served(m)
    t.check("the CA comes behind the server's certificate", before.count("BEGIN CERTIFICATE") == 2 and
            open(m.ca_file, encoding="ascii").read().strip() in before, before[:300])
    for name in ("server.pem", "server.key", "server.names"):
        os.unlink(os.path.join(m.state, name))
    m.must("init")
    os.kill(m.running.process.pid, signal.SIGHUP)
    t.check("SIGHUP: another certificate is served", wait_until(
        lambda: certificate_served(m).split("END CERT")[0].split("BEGIN")[-1] != before.split("END CERT")[0].split("BEGIN")[-1],
        5) is not None, m.log()[-300:])
    t.check("and a connection that was open goes on", a.get("/v1/feed?after=0&wait=0")[0] == 200)
    os.rename(os.path.join(m.state, "server.key"), os.path.join(m.state, "away"))
    os.kill(m.running.process.pid, signal.SIGHUP)
    t.check("a certificate that cannot be read: the old one stays", wait_until(
        lambda: "certificate stays as it was" in m.log(), 5) is not None and a.get("/v1/feed?after=0&wait=0")[0] == 200)
    os.rename(os.path.join(m.state, "away"), os.path.join(m.state, "server.key"))


def status(t, m):
    s = wait_until(lambda: m.json("status")["managers"], 15) is not None and m.json("status")
    one = next(iter(s["managers"].values())) if s else {}
    t.check("status shows the manager that runs", one.get("leads") and one.get("port") == m.port and "api" in one, s)


def ends(t, m, a, b):
    m.must("revoke", "web-2")
    t.check("a revoked host is refused", wait_until(lambda: b.get("/v1/feed?after=0&wait=0")[0] in (401, 403), 5) is not None)
    code = m.stop()
    t.check("SIGTERM: exit code 0", code == 0, (code, m.log()[-400:]))
    a.close()
    m.start()
    status_, answer = a.send([a.block("203.0.113.7", 60, "b2")])
    t.check("after a restart the host goes on", status_ == 200 and not answer["duplicate"], (status_, answer))
    m.kill()
    a.close()
    with open(m.path("run.log"), "ab") as f:
        f.write(b"has stopped\n")
    m.start()
    t.check("killed: what was answered for is there", "203.0.113.7" in entries_of(first_feed(a)))
    m.stop()
    log = m.log()
    t.check("neither keys nor tokens are in the log", "PRIVATE KEY" not in log and "ske_" not in log and
            "AddressSanitizer" not in log and "runtime error" not in log, log[-500:])


def instances(t, program, moto):
    """Two hosts are instances of EC2, as their identity documents would have said, and one claims to be one that EC2 has not."""
    def start():
        return moto.aws("ec2", "run-instances", "--image-id", "ami-12c6146b")["Instances"][0]["InstanceId"]
    with Manager(program, settings=f"agents: {{follow-instances: yes}}\naws: {{endpoint: {moto.endpoint}}}\n", env=moto.env) as m:
        m.start()
        ids = {"gone-1": start(), "here-1": start(), "else-1": "i-0123456789abcdef0"}
        hosts = {name: Host(m, m.token(), name) for name in ids}
        moto.aws("ec2", "terminate-instances", "--instance-ids", ids["gone-1"])
        m.stop()
        with sqlite3.connect(os.path.join(m.state, "manager.db")) as db:
            for name, ident in ids.items():
                db.execute("UPDATE agent SET instance=?, region=? WHERE host=?", (ident, REGION, name))
        db.close()
        m.start()

        def states():
            return {r["host"]: r["state"] for r in m.json("agents")}
        t.check("the host of a terminated instance is retired", wait_until(lambda: states()["gone-1"] == "retired", 15, 0.3)
                is not None, (states(), m.log()[-400:]))
        t.check("one whose instance runs is not, nor one that EC2 does not know",
                states()["here-1"] == states()["else-1"] == "active", states())
        t.check("its certificate is refused", hosts["gone-1"].post("/v1/heartbeat", {
            "version": "0.1.0", "uptime_s": 1, "blocks": 0, "rules_version": 0, "policy_version": 0, "status": {}})[0] == 403)
        t.check("and the audit log says why", any(r["what"] == "agent.retire" and ids["gone-1"] in r["detail"]
                                                 for r in m.json("audit")))


def retirement(t, program):
    """A host that is silent for three seconds; and one that is silent because no manager ran."""
    with Manager(program, settings="agents: {retire-after: 3s, heartbeat: 1s}\n") as m:
        m.start()
        Host(m, m.token(), "gone-1")
        b = Host(m, m.token(), "here-1")

        def states():
            return {r["host"]: r["state"] for r in m.json("agents")}

        def beat():
            b.post("/v1/heartbeat", {"version": "0.1.0", "uptime_s": 1, "blocks": 0, "rules_version": 0, "policy_version": 0,
                                     "status": {}})
            return states()["gone-1"] == "retired"
        t.check("a silent host is retired, one that is heard is not",
                wait_until(beat, 12, 0.5) is not None and states()["here-1"] == "active", states())
        t.check("which the audit log says", any(r["what"] == "agents.retire" for r in m.json("audit")))
        Host(m, m.token(), "waits-1")
        m.stop()
        with sqlite3.connect(os.path.join(m.state, "manager.db")) as db:  # no manager for a long time
            db.execute("UPDATE memo SET value='1 2' WHERE name='leader.beat'")
            db.execute("UPDATE agent SET seen=1000 WHERE host='waits-1'")
        db.close()
        m.start()
        time.sleep(1.5)
        t.check("after a break of managers nobody is retired at once", states()["waits-1"] != "retired", states())
        t.check("but when the time has passed again", wait_until(lambda: states()["waits-1"] == "retired", 8, 0.5) is not None,
                states())


def strangers(t, m):
    try:
        with ssl.create_default_context().wrap_socket(__import__("socket").create_connection((m.address, m.port), 5),
                                                      server_hostname="localhost"):
            t.check("who does not know the CA refuses the server", False)
    except ssl.SSLError as e:
        t.check("who does not know the CA refuses the server", "verify failed" in str(e), e)
    second = subprocess.run([m.program, "run", "-c", m.conf], capture_output=True, text=True, timeout=30, check=False,
                            env=m.env)
    t.check("a second manager on the same port does not start", second.returncode == 1 and "HTTPS" in second.stderr, second)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--manager", required=True)
    ap.add_argument("--agent")
    args = ap.parse_args()
    t = Tally("run_daemon")
    moto = Moto() if venv_tool("moto_server") else None
    try:
        import boto3  # noqa: F401  pylint: disable=import-outside-toplevel,unused-import
    except ImportError:
        moto = None
    if moto is None:
        t.skip("AWS WAF", "moto and boto3 are not there (./dev test makes build/venv)")
    else:
        moto.__enter__()
    try:
        with Manager(args.manager, settings=moto.settings() if moto else "", env=moto.env if moto else None) as m:
            m.start()  # makes what init makes
            t.check("run makes CA and keys", os.path.exists(m.ca_file) and "CA and keys are made" in m.log())
            a, b = fleet(t, m)
            blocks(t, m, a, b)
            if moto:
                waf(t, m, moto)
                where(t, a)
            strangers(t, m)
            status(t, m)
            reload(t, m, a)
            ends(t, m, a, b)
            if moto:
                without_run(t, m, moto)
        retirement(t, args.manager)
        if moto:
            instances(t, args.manager, moto)
    finally:
        if moto:
            moto.__exit__()
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
