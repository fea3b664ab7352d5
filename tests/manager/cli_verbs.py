#!/usr/bin/env python3
"""sekisho-manager's command line: what each verb does to a store that nobody serves, and what mistakes look like."""
import argparse
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time

from bed import Manager, Tally

FOREVER = None
SECRET = re.compile(r"^sk[eo]_[a-z2-7]{52}$")


def says(done, code, *words):
    text = done.stdout + done.stderr
    return done.returncode == code and all(w in text for w in words)


def file_state(m):
    return {os.path.join(d, f): os.stat(os.path.join(d, f)).st_mtime_ns for d, _, files in os.walk(m.dir) for f in files
            if not f.endswith(("-shm", "-wal"))}


def check_before(t, m):
    """Nothing is there, and nothing comes by asking."""
    done = m.run("check")
    t.check("check before init: it would start", says(done, 0, "nothing is there yet", "is made when", "would start"), done)
    t.check("and makes nothing", not os.path.exists(m.state))
    done = m.run("check", "--set", f"state-dir={m.path('none')}/below")
    t.check("a state folder that cannot be made", says(done, 1, f"{m.path('none')}: No such file", "would not start"), done)


def check(t, m):
    before = file_state(m)
    done = m.run("check")
    t.check("check: it would start", says(done, 0, f"state folder   {m.state}", "of version", "would start"), done)
    t.check("and nothing is changed by it", file_state(m) == before)
    key, cert, secret = m.path("own.key"), m.path("own.pem"), m.path("secret")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    own = ("--set", f"certificate={cert}", "--set", f"key={key}")
    t.check("with a certificate of one's own", says(m.run("check", *own), 0, cert, "would start"))
    os.chmod(key, 0o644)
    done = m.run("check", *own)
    t.check("whose key others may read: not", says(done, 1, "chmod 600", "would not start"), done)
    done = m.run("check", "--set", f"certificate={cert}", "--set", f"key={m.state}/server.key")
    t.check("nor with another's key", says(done, 1, "do not belong together"), done)
    done = m.run("check", "--set", f"identity.certificates={m.path('none.pem')}")
    t.check("nor without the file of identity certificates", says(done, 1, "none.pem", "would not start"), done)
    hook = f"outputs=[{{name: hook, type: webhook, url: 'https://192.0.2.1/', secret-file: {secret}}}]"
    done = m.run("check", "--set", hook)
    t.check("nor without an output's secret", says(done, 1, "the outputs", "would not start"), done)
    done = m.run("check", "--set", hook, *own)
    t.check("everything that is wrong is said", says(done, 1, "the outputs", "the server's certificate"), done)
    done = m.run("check", "--set", "store=postgresql://nobody@127.0.0.1:1/none")
    t.check("a database that does not answer is said, and may come", says(done, 0, "does not answer now", "would start"), done)
    done = m.run("check", "--set", f"store=sqlite:{m.path('none')}/x.db")
    t.check("SQLite where it cannot be: no", says(done, 1, "none: No such file", "would not start"), done)
    done = m.run("check", "--set", "store=postgresql://[")
    t.check("nor what is no address of a database", says(done, 1, "would not start"), done)
    done = m.run("check", "--set", "listen=nowhere")
    t.check("a mistake in the configuration is named", says(done, 1, "listen"), done)
    base = os.path.join(m.state, "manager.db")
    with sqlite3.connect(base) as db:
        have = db.execute("SELECT version FROM schema_version").fetchone()[0]
        db.execute("UPDATE schema_version SET version = ?", (have + 7,))
    done = m.run("check")
    t.check("nor on a database of a later version", says(done, 1, str(have + 7), "would not start"), done)
    with sqlite3.connect(base) as db:
        db.execute("UPDATE schema_version SET version = ?", (have - 1,))
    t.check("an earlier one would be migrated", says(m.run("check"), 0, "to be migrated"))
    with sqlite3.connect(base) as db:
        db.execute("UPDATE schema_version SET version = ?", (have,))


def start_over(t, m):
    done = m.run("token", "list")
    t.check("without a state folder: says what makes it", says(done, 1, "sekisho-manager init"), done)
    done = m.run("init")
    t.check("init prints fingerprint and the next commands",
            says(done, 0, "CA fingerprint: ", "token create", "sekisho enroll --manager https://127.0.0.1:"), done)
    first = m.fingerprint()
    modes = {}
    for folder, _, files in os.walk(m.state):
        for path in [folder] + [os.path.join(folder, f) for f in files]:
            modes[os.path.relpath(path, m.state)] = stat.S_IMODE(os.stat(path).st_mode)
    wide = {p: oct(mode) for p, mode in modes.items() if mode & 0o077 and p not in ("ca/ca.pem", "signing.pub")}
    t.check("nothing but the CA's certificate and public keys can be read by others", not wide, wide)
    done = m.run("init")
    t.check("init again changes nothing", says(done, 0, "was there already", first) and m.fingerprint() == first, done)
    os.chmod(m.state, 0o755)
    done = m.run("init")
    t.check("a state folder that others can read is refused", says(done, 1, "chmod 700"), done)
    os.chmod(m.state, 0o700)
    pem = m.must("ca", "show", "--pem")
    t.check("ca show --pem is the certificate", pem == open(m.ca_file, encoding="ascii").read())


def certificate(t, m):
    def names():
        done = subprocess.run(["openssl", "x509", "-in", os.path.join(m.state, "server.pem"), "-noout", "-ext",
                               "subjectAltName"], capture_output=True, text=True, check=False)
        return set(re.findall(r"(?:DNS|IP Address):([^,\s]+)", done.stdout))

    def serial():
        return open(os.path.join(m.state, "server.pem"), encoding="ascii").read()
    t.check("the server's certificate has the configured names", names() == {"127.0.0.1", "localhost"}, names())
    before = serial()
    m.must("init")
    t.check("and stays while they do", serial() == before)
    m.must("init", "--name", "manager.example.com", "--name", "192.0.2.7")
    t.check("other names, another certificate", names() == {"manager.example.com", "192.0.2.7"}, names())
    done = m.run("init", "--name", "not a name")
    t.check("what is no name is refused", says(done, 1, "no certificate for these names"), done)
    m.must("init", "--name", "127.0.0.1", "--name", "localhost")


def tokens(t, m):
    secret = m.token("--uses", "3", "--for", "2h", "--tag", "role=web", "--tag", "zone=a", "--note", "for \"tests\" é")
    t.check("the secret stands alone on standard output", bool(SECRET.match(secret)), secret)
    admin = m.json("token", "create", "--kind", "operator", "--role", "admin", "--for", "never")
    t.check("an operator's token as JSON", bool(SECRET.match(admin["secret"])) and admin["expires_ms"] is FOREVER and
            admin["uses_left"] is None and admin["role"] == "admin", admin)
    rows = {r["id"]: r for r in m.json("token", "list")}
    enrol = next(r for r in rows.values() if r["kind"] == "enrol")
    t.check("token list shows what was asked for", enrol["uses_left"] == 3 and enrol["tags"] == {"role": "web", "zone": "a"} and
            enrol["note"] == "for \"tests\" é" and 7100e3 < enrol["expires_ms"] - enrol["created_ms"] <= 7200e3, enrol)
    store = b"".join(open(os.path.join(m.state, f), "rb").read() for f in os.listdir(m.state) if f.startswith("manager.db"))
    t.check("no secret is in the database", secret.encode() not in store and admin["secret"].encode() not in store)
    t.check("nor in any list", secret not in m.must("token", "list") + m.must("audit") + m.must("audit", "--json"))
    done = m.run("token", "revoke", enrol["id"])
    state = next(r for r in m.json("token", "list") if r["id"] == enrol["id"])["state"]
    t.check("a revoked token", says(done, 0, "is revoked") and state == "revoked", (done, state))
    t.check("a token that is not there", says(m.run("token", "revoke", "x' OR 1=1 --"), 1, "no token has the ID"))
    short = m.json("token", "create", "--for", "1s")["id"]
    time.sleep(1.1)
    state = next(r for r in m.json("token", "list") if r["id"] == short)["state"]
    t.check("a token that has run out", state == "expired", state)
    for words, text in ((("--uses", "0"), "--uses is a number"), (("--uses", "2x"), "--uses is a number"),
                        (("--kind", "guest"), "enrol, operator"), (("--role", "admin"), "goes with --kind operator"),
                        (("--kind", "operator", "--role", "root"), "read, admin"), (("--tag", "novalue"), "KEY=VALUE"),
                        (("--tag", "=x"), "KEY=VALUE"), (("--note", "a\nb"), "control characters"),
                        (("--note", "x" * 600), "longer than"), (("--kind", "operator", "--uses", "3"), "--kind enrol"),
                        (("extra",), "unexpected argument")):
        done = m.run("token", "create", *words)
        t.check(f"token create {' '.join(words)[:30]!r} is refused", says(done, 2, text), done)
    t.check("a time that is none", says(m.run("token", "create", "--for", "soon"), 1, "not a time"))


def blocks(t, m):
    done = m.run("block", "203.0.113.5", "--for", "1h", "--reason", "by \"hand\"; DROP TABLE block;--")
    t.check("block", says(done, 0, "203.0.113.5 is blocked on the whole fleet for 1h"), done)
    m.must("block", "2001:db8:5::/48", "--for", "2h")
    rows = {r["target"]: r for r in m.json("blocks")}
    b = rows.get("203.0.113.5", {})
    t.check("blocks lists it", b.get("state") == "in force" and b["origin"] == "operator" and b["host"] == "the manager" and
            b["reason"] == "by \"hand\"; DROP TABLE block;--" and "2001:db8:5::/48" in rows, rows)
    m.must("block", "203.0.113.5", "--for", "3h")
    entry = {r["target"]: r for r in m.json("entries")}["203.0.113.5"]
    t.check("two blocks, one entry that ends with the later one", len(m.json("blocks", "--target", "203.0.113.5")) == 2 and
            10700e3 < entry["expires_ms"] - time.time() * 1000 <= 10800e3, entry)
    done = m.run("unblock", "203.0.113.5")
    t.check("unblock ends both", says(done, 0, "2 blocks ended"), done)
    t.check("then it is not blocked", says(m.run("unblock", "203.0.113.5"), 1, "is not blocked") and
            not m.json("blocks", "--target", "203.0.113.5") and len(m.json("entries")) == 1)
    old = m.json("blocks", "--target", "203.0.113.5", "--history")
    t.check("the history keeps them", [r["why"] for r in old] == ["unblocked"] * 2 and all(r["ended_ms"] for r in old), old)
    m.must("block", "203.0.113.9", "--for", "1s")
    time.sleep(1.1)
    t.check("a block that has run out is over by itself",
            "203.0.113.9" not in {r["target"] for r in m.json("entries") + m.json("blocks")})
    for target, text in (("203.0.0.0/8", "/16 at the most"), ("2001::/16", "/32 at the most"), ("0.0.0.0/0", "too wide"),
                         ("203.0.113.5/24", "'203.0.113.0/24' is the network"), ("127.0.0.1", "cannot be blocked"),
                         ("example.com", "not an address"), ("198.51.100.7", "never"), ("198.51.0.0/16", "never")):
        done = m.run("block", target, "--set", "never=[198.51.100.0/24]")
        t.check(f"block {target} is refused", says(done, 1, text), done)
    t.check("block for no time", says(m.run("block", "203.0.113.6", "--for", "0s"), 1, "not a time"))


def bundles(t, m):
    policy, rules = m.path("p.yaml"), m.path("web.rules")
    with open(policy, "w", encoding="utf-8") as f:
        f.write("decide:\n  block-duration: 2h\n  policy: [\"sid:1 never\"]\nnever: [192.0.2.0/24]\n"
                "vars:\n  address-groups: {HOME_NET: [10.0.0.0/8, \"!10.1.0.0/16\"]}\n")
    with open(rules, "w", encoding="utf-8") as f:
        f.write('alert tcp any any -> any any (msg:"é"; sid:1;)\n')
    done = m.run("policy", "publish", policy, "--note", "first")
    t.check("policy publish", says(done, 0, "policy version 1"), done)
    done = m.run("rules", "publish", rules)
    t.check("rules publish, and again", says(done, 0, "rules version 1") and
            says(m.run("rules", "publish", rules), 0, "rules version 2"), done)
    rows = [(r["kind"], r["version"], r["holds"], r["note"]) for r in m.json("bundles")]
    t.check("bundles lists versions, the latest first",
            rows == [("policy", 1, 4, "first"), ("rules", 2, 1, ""), ("rules", 1, 1, "")], rows)
    for text, want in (("mode: prevent\n", "p.yaml:1:1: error: mode: a policy cannot set this"),
                       ("guard: {user: root}\n", "p.yaml:1:1: error: guard: a policy cannot set this"),
                       ("decide:\n  block-duratin: 1h\n", "p.yaml:2:18: error: unknown key"),
                       ("decide:\n  block-duration: long\n", "p.yaml:2:19: error: decide.block-duration"),
                       ("- a\n", "expected keys"), ("a: [\n", "error")):
        with open(policy, "w", encoding="utf-8") as f:
            f.write(text)
        done = m.run("policy", "publish", policy)
        t.check(f"policy {text.strip()!r} is refused with its place", says(done, 1, want), done)
    os.rename(os.path.join(m.state, "signing.key"), m.path("elsewhere.key"))
    done = m.run("rules", "publish", rules)
    t.check("the signing key was taken away", says(done, 1, "--key says where it is kept"), done)
    t.check("with --key it goes on", says(m.run("rules", "publish", rules, "--key", m.path("elsewhere.key")), 0, "version 3"))
    m.must("init")
    t.check("init makes no other signing key", not os.path.exists(os.path.join(m.state, "signing.key")))
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", m.path("wrong.key")], check=True,
                   capture_output=True)
    os.chmod(m.path("wrong.key"), 0o600)
    done = m.run("rules", "publish", rules, "--key", m.path("wrong.key"))
    t.check("a key that no host believes is refused", says(done, 1, "no host would believe this key", "signing.pub"), done)
    os.chmod(m.path("elsewhere.key"), 0o644)
    done = m.run("rules", "publish", rules, "--key", m.path("elsewhere.key"))
    t.check("a key that others can read is refused", done.returncode == 1, done)
    t.check("a file that is not there", says(m.run("rules", "publish", "/nonexistent"), 1, "No such file"))
    t.check("refused ones have taken no version", len(m.json("bundles")) == 4)


def the_rest(t, m):
    who = {r["what"]: r["who"] for r in m.json("audit")}
    t.check("the audit log has each change, and by whom", all(who.get(w, "").startswith("local:") for w in
                                                              ("token.create", "token.revoke", "block", "unblock",
                                                               "policy.publish", "rules.publish")), who)
    t.check("audit --limit", len(m.json("audit", "--limit", "2")) == 2)
    s = m.json("status")
    t.check("status counts", s["entries"] == 1 and s["rules_version"] == 3 and s["agents"] == 0 and s["managers"] == {}, s)
    t.check("no agents, no events", m.json("agents") == [] and m.json("events") == [] and
            says(m.run("agent", "web-1"), 1, "no agent has"))
    t.check("AWS WAF that nobody writes", says(m.run("waf", "status"), 1, "waf.enabled") and
            says(m.run("waf", "plan"), 1, "waf.targets is empty"))
    for words in ((), ("nonsense",), ("token",), ("token", "nonsense"), ("agents", "--state", "asleep"), ("block",),
                  ("blocks", "--limit", "0"), ("blocks", "--pem"), ("agents", "--nonsense"), ("status", "--set")):
        done = subprocess.run([m.program, *words], capture_output=True, text=True, check=False)
        t.check(f"usage: {' '.join(words)!r}", done.returncode == 2 and "sekisho-manager" in done.stderr and not done.stdout,
                done)
    done = m.run("status", "--set", "waf.enabld=yes")
    t.check("a configuration key that is none", says(done, 1, "did you mean \"waf.enabled\"?"), done)
    done = subprocess.run([m.program, "help"], stdout=open("/dev/full", "w", encoding="ascii"), stderr=subprocess.PIPE,
                          text=True, check=False)
    t.check("output that cannot be written is a failure", done.returncode == 1 and "standard output" in done.stderr, done)
    done = subprocess.run([m.program, "help", "token"], capture_output=True, text=True, check=False)
    t.check("help of a first word shows all", done.stdout.count("Usage: ") == 3)
    for line in subprocess.run([m.program, "help", "--table"], capture_output=True, text=True, check=True).stdout.splitlines():
        verb = line.split("\t")[0].split()
        done = subprocess.run([m.program, *verb, "--help"], capture_output=True, text=True, check=False)
        if done.returncode or not done.stdout.startswith("Usage: sekisho-manager " + " ".join(verb)):
            t.check(f"{' '.join(verb)} --help", False, done)


def owner(t, m):
    if os.geteuid() != 0:
        t.skip("root becomes the owner of the state folder", "needs root")
        return
    os.chmod(m.dir, 0o755)
    subprocess.run(["chown", "-R", "daemon:daemon", m.state], check=True)
    m.must("block", "203.0.113.77")
    owners = {os.stat(os.path.join(m.state, f)).st_uid for f in os.listdir(m.state)}
    t.check("root becomes the owner of the state folder: nothing in it is root's", 0 not in owners, owners)
    done = subprocess.run(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", m.program, "check", "-c", m.conf],
                          capture_output=True, text=True, check=False)
    t.check("who may not look into it is told so, not that it is empty", says(done, 1, f"{m.state}: Permission denied") and
            "nothing is there" not in done.stdout, done)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--manager", required=True)
    ap.add_argument("--agent")
    args = ap.parse_args()
    t = Tally("cli_verbs")
    with Manager(args.manager) as m:
        check_before(t, m)
        start_over(t, m)
        check(t, m)
        certificate(t, m)
        tokens(t, m)
        blocks(t, m)
        bundles(t, m)
        the_rest(t, m)
        owner(t, m)
        secrets = [open(os.path.join(m.state, n), encoding="ascii").read() for n in ("ca/ca.key", "server.key")]
        t.check("keys are keys", all("PRIVATE KEY" in s for s in secrets), json.dumps(len(secrets)))
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
