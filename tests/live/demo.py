#!/usr/bin/env python3
"""The demonstration: an attack is found, its source is blocked, everybody else goes on being served; and the same through
a load balancer, which is part of what is protected:

    attacker 10.77.4.2, customer 10.77.4.3 ----- 10.77.4.1  proxy (nginx)  10.77.3.2 ----- 10.77.3.1  server

With --manager, tests/manager/demo.py goes on from there: a fleet, its manager, and AWS WAF.
"""
import argparse
import os
import signal
import subprocess
import sys
import time

from bed import ATTACK, ATTACKER, ROOT, VISITOR, Bed, wait_until

RULES = ('drop http $EXTERNAL_NET any -> $HOME_NET any (msg:"SQL injection: UNION SELECT"; flow:established,to_server; '
         'http.uri; content:"union"; nocase; content:"select"; nocase; distance:1; within:20; '
         'classtype:web-application-attack; sid:1; rev:1; metadata: sekisho_block 6s;)\n')


PROXY, PROXIED, CUSTOMER = "10.77.3.2", "10.77.4.2", "10.77.4.3"
CONF = f"""
vars:
  address-groups:
    HOME_NET: "[10.77.1.1, 10.77.2.1, 10.77.3.0/24]"
proxies:
  http: [{PROXY}]
"""
PROXY_NGINX = """worker_processes 1; pid {dir}/proxy.pid; error_log {dir}/proxy.log; user root; events {{ }}
http {{ access_log off; proxy_temp_path /tmp; client_body_temp_path /tmp;
  server {{ listen 80; location / {{
    proxy_pass http://10.77.3.1; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}
"""


class Scene(Bed):
    def __init__(self, agent):
        super().__init__(agent, rules=RULES, keep_on_stop=False, extra=CONF)
        self.proxy, self.proxy_pid = self.prefix + "p", None
        self.spaces.append(self.proxy)

    def build(self):
        super().build()
        for dev, ns, peer, far, addresses in (("eth3", self.server, "eth0", self.proxy, ("10.77.3.1", PROXY)),
                                              ("eth1", self.proxy, "eth1", self.attacker, ("10.77.4.1", PROXIED))):
            self.must("ip", "link", "add", dev, "netns", ns, "type", "veth", "peer", "name", peer, "netns", far)
            for where, name, address in ((ns, dev, addresses[0]), (far, peer, addresses[1])):
                self.must("ip", "-n", where, "addr", "add", address + "/24", "dev", name)
                self.must("ip", "-n", where, "link", "set", name, "up")
        self.must("ip", "-n", self.attacker, "addr", "add", CUSTOMER + "/24", "dev", "eth1")
        with open(self.path("proxy.conf"), "w", encoding="utf-8") as f:
            f.write(PROXY_NGINX.format(dir=self.dir))
        done = self.sh(self.proxy, "nginx", "-c", self.path("proxy.conf"), "-e", self.path("proxy.log"))
        if done.returncode or wait_until(lambda: os.path.exists(self.path("proxy.pid"))) is None:
            raise RuntimeError("nginx does not start: " + done.stderr)
        self.proxy_pid = int(open(self.path("proxy.pid"), encoding="ascii").read())

    def __exit__(self, *what):
        if self.proxy_pid:
            try:
                os.kill(self.proxy_pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        super().__exit__(*what)

    def through_proxy(self, source, url, *args):
        done = self.sh(self.attacker, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "3", "--interface", source,
                       *args, "http://10.77.4.1" + url)
        return int(done.stdout or 0)


def title(text):
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def show(text, indent="   "):
    for line in text.rstrip().splitlines():
        print(indent + line, flush=True)


def request(bed, where, url):
    who = "attacker" if where == bed.attacker else "visitor "
    code = bed.fetch(where, url, seconds=1)
    answer = f"HTTP {code}" if code else "no answer"
    print(f"   {who} {ATTACKER if where == bed.attacker else VISITOR}  GET {url}  ->  {answer}", flush=True)
    return code


def expect(ok, what):
    if not ok:
        print(f"\nThis is not what the demo promises: {what}")
        sys.exit(1)


def blocked_and_explained(bed):
    block = bed.blocks()[0]
    ident = str(block["id"])
    print(f"   $ sekisho explain {ident}")
    done = bed.ctl("explain", ident)
    expect(done.returncode == 0, "the block is explained")
    show(done.stdout, "     ")
    print("   $ nft list table inet sekisho")
    table = bed.sh(bed.server, "nft", "list", "set", "inet", "sekisho", "block4").stdout
    show(table, "     ")
    expect(ATTACKER in table, "the attacker is in the nftables set")


def attack(bed):
    title("2. The attacker tries SQL injection")
    request(bed, bed.attacker, ATTACK)
    expect(wait_until(lambda: ATTACKER in (bed.elements() or {}), 3) is not None, "the attacker is blocked")
    expect(wait_until(lambda: bed.eve("alert"), 3) is not None, "there is an alert")
    alert = bed.eve("alert")[0]
    print(f"   alert: {alert['alert']['signature']} (sid {alert['alert']['signature_id']}) "
          f"from {alert['src_ip']}:{alert['src_port']}")
    title("3. It is blocked, and the block can be explained")
    blocked_and_explained(bed)


def after(bed):
    title("4. The attacker's next connection fails, the visitor's does not")
    expect(request(bed, bed.attacker, "/index.html") is None, "the attacker gets no answer")
    expect(request(bed, bed.visitor, "/index.html") == 200, "the visitor is served")
    title("5. The rule asked for six seconds; then the attacker may connect again")
    took = wait_until(lambda: bed.fetch(bed.attacker, "/index.html", 1) == 200, 15, 0.5)
    expect(took is not None, "the block expires")
    request(bed, bed.attacker, "/index.html")


def proxied(bed):
    title("6. The same attack through a load balancer, with a forged X-Forwarded-For")
    code = bed.through_proxy(PROXIED, ATTACK, "-H", f"X-Forwarded-For: {VISITOR}")
    print(f"   attacker {PROXIED}  GET {ATTACK}  ->  HTTP {code}\n            \"X-Forwarded-For: {VISITOR}\", to the proxy, "
          f"which is {PROXY} to the server")
    expect(bed.wait_blocked(PROXIED) is not None, "the client behind the proxy is blocked")
    blocked = bed.elements()
    print(f"   blocked: {', '.join(blocked)}")
    expect(list(blocked) == [PROXIED], "neither the proxy nor the address that was forged is blocked")
    print(f"   $ sekisho explain {PROXIED}")
    done = bed.ctl("explain", PROXIED)
    expect(done.returncode == 0 and f"{PROXY}, known by connection" in done.stdout, "the block names the hop")
    show("\n".join(done.stdout.splitlines()[:6]) + "\n...", "     ")
    code = bed.through_proxy(CUSTOMER, "/index.html")
    print(f"   customer {CUSTOMER}  GET /index.html  ->  HTTP {code}, through the same proxy")
    expect(code == 200, "others are served through the proxy")
    expect(request(bed, bed.visitor, "/index.html") == 200, "whose address was forged is served")


def replay(bed):
    title("7. The starter rules on a capture file")
    pcap = os.path.join(ROOT, "pcaps/attacks.pcap")
    cmd = [bed.agent, "replay", "-S", os.path.join(ROOT, "rules/sekisho-starter.rules"), pcap]
    print("   $ sekisho replay -S rules/sekisho-starter.rules pcaps/attacks.pcap")
    done = subprocess.run(cmd, capture_output=True, text=True, check=False)
    lines = done.stdout.rstrip().splitlines()
    show("\n".join(lines[:5] + [f"... {len(lines) - 6} more lines ..."] + lines[-1:]), "     ")
    expect(done.returncode == 0, "the replay ends well")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--manager")
    args = ap.parse_args()
    began = time.monotonic()
    with Scene(args.agent) as bed:
        title("1. A web server in a network namespace, Sekisho beside it; ordinary requests")
        if not bed.start_agent():
            print(bed.agent_log())
            expect(False, "the agent starts")
        for where in (bed.attacker, bed.visitor):
            expect(request(bed, where, "/index.html") == 200, "ordinary requests are answered")
        attack(bed)
        after(bed)
        proxied(bed)
        replay(bed)
        title("8. The end: SIGTERM, and nothing is left")
        code = bed.stop_agent()
        expect(code == 0 and bed.elements() is None, "the agent stops and takes its table with it")
        print("   agent stopped, table inet sekisho is gone")
    if args.manager:
        part = os.path.join(ROOT, "tests/manager/demo.py")
        done = subprocess.run([sys.executable, "-B", part, "--agent", args.agent, "--manager", args.manager], check=False)
        if done.returncode:
            return done.returncode
    print(f"\nDone in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
