#!/usr/bin/env python3
"""schemathesis over docs/manager-api.yaml: what it makes of the document, right and wrong, the server must answer as
written there."""
import argparse
import os
import subprocess
import sys
import threading
import time

from api_bed import Operator, Server, Tally, make_csr, need_cryptography

need_cryptography("api_schemathesis")
YAML = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "manager-api.yaml")
TOOL = os.path.join(os.path.dirname(sys.executable), "schemathesis")
# What the schema cannot say: what an address is, and a certificate request; and that too large a body is refused as such.
CONFIG = """
hooks = "api_hooks.py"
[generation]
allow-x00 = false
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "411", "413", "415", "429"]
"""
HOOKS = """
import ipaddress
import schemathesis
from hypothesis import strategies as st

def prefix(drawn):
    address, length = drawn
    net = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    return str(net.network_address) if net.prefixlen == net.max_prefixlen else str(net)

addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None)
schemathesis.openapi.format("ip-prefix", st.tuples(addresses, st.integers(1, 128)).map(prefix))
schemathesis.openapi.format("pem-csr", st.sampled_from(%r))
"""


def run(t, s, what, seconds, *args):
    command = [TOOL, "run", YAML, "--url", f"https://localhost:{s.port}", "--tls-verify", s.ca, "--seed", "7",
               "--continue-on-failure", "--checks", "all", "--max-time", str(seconds), "--request-timeout", "30",
               "--suppress-health-check", "all", "--no-color", *args]
    done = subprocess.run(command, cwd=s.dir, capture_output=True, text=True, timeout=seconds + 300)
    tested = [line.strip() for line in done.stdout.splitlines() if "generated" in line or "Tested:" in line]
    print("    ", what, *tested)
    if not t.check(what, done.returncode == 0 and "No test cases" not in done.stdout, done.stderr):
        print("\n".join("     | " + line[:240 if "curl" not in line else 4000] for line in done.stdout.splitlines() if line.strip()))


def news(s, stop):
    """Polls would wait for up to a minute: there is always something new."""
    operator = Operator(s, s.token)
    while not stop.is_set():
        operator.post("/v1/operator/blocks", {"target": "203.0.113.200", "seconds": 3600})
        time.sleep(0.15)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="tests/unit/api/api_server")
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    t = Tally("api_schemathesis")
    if not os.path.exists(TOOL):
        t.skip("everything", "schemathesis is missing: build/venv is not there")
        return t.end()
    with Server(args.server, "-w", "-n", "192.0.2.0/24", "-a", "100000", "-A", "100000") as s:
        agent, leaving, stop = s.agent(), s.agent(), threading.Event()
        ticker = threading.Thread(target=news, args=(s, stop))
        ticker.start()
        token = s.token_for("operator", role="admin")["secret"]
        third = args.seconds // 3
        with open(os.path.join(s.dir, "schemathesis.toml"), "w") as f:
            f.write(CONFIG)
        with open(os.path.join(s.dir, "api_hooks.py"), "w") as f:
            f.write(HOOKS % [make_csr(agent.private, name) for name in ("a", "b")])
        try:
            run(t, s, "agents", third, "--include-tag", "agents", "--exclude-operation-id", "retire",
                "--exclude-operation-id", "enroll", "--request-cert", agent.path, "--request-cert-key", agent.key)
            answer = agent.post("/v1/heartbeat", {"version": "1"})
            t.check("the agent can still speak", answer.status == 200, answer)
            run(t, s, "retirement", 8, "--include-operation-id", "retire", "--request-cert", leaving.path,
                "--request-cert-key", leaving.key)
            run(t, s, "operators", third, "--include-tag", "operators", "--exclude-operation-id", "revokeToken", "-H",
                f"Authorization: Bearer {token}")
            run(t, s, "tokens", 8, "--include-operation-id", "revokeToken", "-H", f"Authorization: Bearer {token}")
            run(t, s, "without credentials", third, "--include-operation-id", "enroll", "--include-operation-id",
                "health")
        finally:
            stop.set()
            ticker.join()
        t.check("the server ends well", s.stop(), s.read_log()[-2000:])
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
