#!/usr/bin/env python3
"""The connection that carried an attack ends at the server, a direct client's and one that came through a real proxy, and no other
does. See bed.py for the scene; behind the visitor's nginx, a reverse proxy here, stand clients of its own."""
import argparse
import os
import subprocess
import sys
import time

from bed import ATTACKER, SERVER_A, SERVER_V, VISITOR, Bed, Tally, wait_until
from live_block import RULE
from live_hostile import AGAIN, Stolen, block_request, v4

# `target:src_ip`: the source of the packet, the server, is the victim.
LEAK = ('drop http $HOME_NET any -> $EXTERNAL_NET any (msg:"leak"; flow:established,to_client; file.data; content:"SECRET-MARK"; '
        'target:src_ip; sid:3; rev:1; metadata: sekisho_block 10m;)\n')
SLOW_ATTACK = "/slow.bin?id=1%20UNION%20SELECT%201"
PROXY_OUTSIDE, EVIL, GOOD = "203.0.113.1", "203.0.113.9", "203.0.113.10"
CONF = f"proxies:\n  http: [{VISITOR}]\n"


class Download:
    def __init__(self, bed, where, url, source=None):
        bed.downloads = getattr(bed, "downloads", 0) + 1
        self.out = bed.path(f"download-{bed.downloads}")
        self.curl = subprocess.Popen(["ip", "netns", "exec", where, "curl", "-s", "-g", "-o", self.out, *(
            ["--interface", source] if source else []), "-m", "60", url])

    def size(self):
        return os.path.getsize(self.out) if os.path.exists(self.out) else 0

    def runs(self):
        """Do bytes still come?"""
        before = self.size()
        return self.curl.poll() is None and wait_until(lambda: self.size() > before, 2) is not None

    def end(self):
        self.curl.kill()
        self.curl.wait()


def peers(bed):
    """[address:port] of those who have an established connection with the server's port 80."""
    done = bed.sh(bed.server, "ss", "-Htn", "state", "established", "sport", "=", ":80")
    return [line.split()[3].replace("[::ffff:", "").replace("]", "") for line in done.stdout.splitlines()]


def of(bed, address):
    return [p for p in peers(bed) if p.rsplit(":", 1)[0] == address]


def blocks_status(bed):
    return bed.status()["blocks"]


def killed(bed):
    return blocks_status(bed)["killed"]


def direct(bed, t):
    other = Download(bed, bed.visitor, f"http://{SERVER_V}/slow.bin")
    attack = Download(bed, bed.attacker, f"http://{SERVER_A}{SLOW_ATTACK}")
    t.check("a direct attack is blocked", bed.wait_blocked(ATTACKER) is not None, bed.agent_log()[-300:])
    t.check("its connection ends at the server, in the middle of the answer",
            wait_until(lambda: not of(bed, ATTACKER), 1) is not None, peers(bed))
    t.check("the attacker hears of it", wait_until(lambda: attack.curl.poll() is not None, 2) is not None and
            attack.curl.returncode == 56 and attack.size() < 4000000, (attack.curl.poll(), attack.size()))
    t.check("status counts it", killed(bed) == 1, blocks_status(bed))
    t.check("others' connections go on", other.runs() and len(of(bed, VISITOR)) == 1, peers(bed))
    t.check("and the server goes on listening", bed.fetch(bed.visitor, "/index.html") == 200)
    other.end()
    bed.ctl("unblock", ATTACKER)
    attack = Download(bed, bed.attacker, f"http://[fd77:1::1]{SLOW_ATTACK}")
    t.check("so over IPv6", bed.wait_blocked("fd77:1::2") is not None and
            wait_until(lambda: killed(bed) == 2 and not any("fd77:1::2" in p for p in peers(bed)), 1) is not None, peers(bed))
    attack.end()
    bed.ctl("unblock", "fd77:1::2")


def in_the_answer(bed, t):
    attack = Download(bed, bed.attacker, f"http://{SERVER_A}/slow.bin.leak")
    t.check("an answer that a rule drops blocks the client", bed.wait_blocked(ATTACKER) is not None, bed.agent_log()[-300:])
    t.check("and ends the connection, the right way round", wait_until(lambda: killed(bed) == 3 and not of(bed, ATTACKER), 1)
            is not None, (peers(bed), blocks_status(bed)))
    attack.end()
    bed.ctl("unblock", ATTACKER)


def reload_with(bed, **words):
    with open(bed.conf, "a", encoding="utf-8") as f:
        f.write("decide:\n" + "".join(f"  {k.replace('_', '-')}: {v}\n" for k, v in words.items()))
    return bed.ctl("reload", timeout=60).returncode == 0


def switched_off(bed, t):
    good = open(bed.conf, encoding="utf-8").read()
    before = killed(bed)
    t.check("decide.kill-sockets: no", reload_with(bed, kill_sockets="no"))
    attack = Download(bed, bed.attacker, f"http://{SERVER_A}{SLOW_ATTACK}")
    t.check("blocks as before", bed.wait_blocked(ATTACKER) is not None)
    time.sleep(1.5)
    t.check("and leaves the server its connection", len(of(bed, ATTACKER)) == 1 and killed(bed) == before, peers(bed))
    attack.end()
    bed.sh(bed.server, "ss", "-K", "dst", ATTACKER)
    with open(bed.conf, "w", encoding="utf-8") as f:
        f.write(good)
    t.check("and on again", bed.ctl("reload", timeout=60).returncode == 0)
    bed.ctl("unblock", ATTACKER)


def start_proxy(bed):
    for address in (PROXY_OUTSIDE, EVIL, GOOD):
        bed.must("ip", "-n", bed.visitor, "addr", "add", address + "/32", "dev", "lo")
    with open(bed.path("proxy.conf"), "w", encoding="utf-8") as f:
        f.write(f"worker_processes 1; pid {bed.path('proxy.pid')}; error_log {bed.path('proxy.log')};\n"
                "user root; events { worker_connections 1024; }\n"
                "http { access_log off; client_body_temp_path /tmp; proxy_buffering off;\n"
                f"upstream behind {{ server {SERVER_V}:80; keepalive 8; }}\n"
                f"server {{ listen {PROXY_OUTSIDE}:8080; location / {{ proxy_pass http://behind; proxy_http_version 1.1;\n"
                'proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }\n')
    done = bed.sh(bed.visitor, "nginx", "-c", bed.path("proxy.conf"), "-e", bed.path("proxy.log"))
    return done.returncode == 0 and wait_until(lambda: os.path.exists(bed.path("proxy.pid"))) is not None


def through(bed, client, url):
    done = bed.sh(bed.visitor, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--interface", client, "-m", "3",
                  f"http://{PROXY_OUTSIDE}:8080{url}")
    return int(done.stdout) if done.returncode == 0 else None


def proxied(bed, t):
    if not t.check("a proxy starts", start_proxy(bed)):
        return
    t.check("and serves clients", through(bed, EVIL, "/index.html") == 200 and through(bed, GOOD, "/index.html") == 200)
    before = killed(bed)
    good = Download(bed, bed.visitor, f"http://{PROXY_OUTSIDE}:8080/slow.bin", GOOD)
    wait_until(lambda: good.size() > 0)
    upstream = set(of(bed, VISITOR))
    attack = Download(bed, bed.visitor, f"http://{PROXY_OUTSIDE}:8080{SLOW_ATTACK}", EVIL)
    t.check("an attack through a proxy blocks the client, and not the proxy", bed.wait_blocked(EVIL) is not None and
            VISITOR not in bed.elements(), bed.elements())
    t.check("the one connection of the proxy ends", wait_until(lambda: killed(bed) == before + 1, 2) is not None and
            wait_until(lambda: attack.curl.poll() is not None, 2) is not None and attack.size() < 4000000,
            (blocks_status(bed), attack.curl.poll()))
    t.check("another client's through the same proxy goes on", good.runs() and upstream & set(of(bed, VISITOR)), peers(bed))
    again(bed, t, good)
    good.end()


def again(bed, t, good):
    before = killed(bed)
    block = next(b for b in bed.blocks() if b["target"] == EVIL)
    attack = Download(bed, bed.visitor, f"http://{PROXY_OUTSIDE}:8080/slow.bin", EVIL)
    t.check("the blocked client comes again through the proxy, harmlessly, and is cut off",
            wait_until(lambda: killed(bed) == before + 1, 2) is not None and
            wait_until(lambda: attack.curl.poll() is not None, 2) is not None and attack.size() < 4000000,
            (blocks_status(bed), attack.size()))
    after = next(b for b in bed.blocks() if b["target"] == EVIL)
    t.check("that neither makes a block nor lengthens one", len(bed.blocks()) == 1 and after["expires"] == block["expires"],
            (block, after))
    t.check("the others are served", through(bed, GOOD, "/index.html") == 200 and good.runs())
    bed.ctl("unblock", EVIL)
    t.check("once it is unblocked it is served", through(bed, EVIL, "/index.html") == 200)
    slow = Download(bed, bed.visitor, f"http://{PROXY_OUTSIDE}:8080/slow.bin", EVIL)
    t.check("at length", slow.runs() and not time.sleep(1) and slow.runs())
    slow.end()


def restored(bed, t):
    """A block from before the start is known to the new engine, and one that ends is not."""
    bed.ctl("block", EVIL, "--for", "10m")
    t.check("the agent ends, and starts with the blocks of before", bed.stop_agent() == 0 and bed.start_agent() and
            [b["target"] for b in bed.blocks()] == [EVIL], bed.agent_log()[-300:])
    attack = Download(bed, bed.visitor, f"http://{PROXY_OUTSIDE}:8080/slow.bin", EVIL)
    t.check("whose client is cut off behind the proxy", wait_until(lambda: killed(bed) == 1, 2) is not None, blocks_status(bed))
    attack.end()
    bed.ctl("unblock", EVIL)
    bed.ctl("block", "203.0.113.0/28", "--for", "2s")  # a network
    attack = Download(bed, bed.visitor, f"http://{PROXY_OUTSIDE}:8080/slow.bin", EVIL)
    t.check("so is one of a blocked network", wait_until(lambda: killed(bed) == 2, 2) is not None, blocks_status(bed))
    attack.end()
    wait_until(lambda: bed.blocks() == [], 4)
    slow = Download(bed, bed.visitor, f"http://{PROXY_OUTSIDE}:8080/slow.bin", EVIL)
    t.check("until the block is over", slow.runs() and not time.sleep(1) and slow.runs() and killed(bed) == 2, blocks_status(bed))
    slow.end()


def forged(bed, t):
    """A taken-over engine asks for connections that are none of its business."""
    victim = Download(bed, bed.attacker, f"http://{SERVER_A}/slow.bin")
    wait_until(lambda: of(bed, ATTACKER))
    port = int(of(bed, ATTACKER)[0].rsplit(":", 1)[1])
    before = blocks_status(bed)
    with Stolen(bed.role("engine")["pid"], 4) as engine:
        engine.send(block_request(v4("198.51.100.7")))
        bed.wait_blocked("198.51.100.7")
        mine = dict(src=v4(ATTACKER), dst=v4(SERVER_A), ports=(port, 80), kill=1)
        engine.send(block_request(v4("198.51.100.7"), **mine), block_request(v4("198.51.100.7"), reason=AGAIN, **mine),
                    block_request(v4(ATTACKER), reason=AGAIN, **mine),
                    block_request(v4("198.51.100.7"), kill=1, reason=AGAIN, src=v4("198.51.100.7"), dst=v4("10.77.9.9")),
                    block_request(v4("198.51.100.7"), kill=1, reason=AGAIN, ports=(0, 80)))
        t.check("every such request is refused", wait_until(
            lambda: blocks_status(bed)["kill_refused"] == before["kill_refused"] + 5, 2) is not None, (before, blocks_status(bed)))
        engine.send(*[block_request(v4("198.51.100.7"), reason=AGAIN, kill=1)] * 4000)
        time.sleep(0.5)
    after = blocks_status(bed)
    t.check("and none destroys anything, however many there are", victim.runs() and after["killed"] == before["killed"], after)
    t.check("the server still listens", bed.fetch(bed.visitor, "/index.html") == 200)
    t.check("and the victim is not blocked", list(bed.elements()) == ["198.51.100.7"], bed.elements())
    victim.end()


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    t = Tally("live_kill")
    with Bed(ap.parse_args().agent, rules=RULE + LEAK, extra=CONF) as bed:
        with open(bed.path("www/slow.bin.leak"), "wb") as f:
            f.write(b"SECRET-MARK " + b"x" * 4000000)
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            for step in (direct, in_the_answer, switched_off, proxied, restored, forged):
                step(bed, t)
        log = bed.agent_log()
        t.check("no sanitizer has anything to say", "Sanitizer" not in log and "runtime error" not in log, log[-2000:])
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
