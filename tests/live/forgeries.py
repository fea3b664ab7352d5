"""Requests by which an attacker behind a proxy would have somebody else blocked, or hide. Data, and a sender.

Every forgery carries the attack in the URI of each of its requests, so that its sender is found whatever it says about
itself. Words in capitals are replaced: VICTIM and VICTIM6 by addresses of somebody else, HOP, HOP2, SERVER and GATEWAY by
those of the scene, ATTACK by the URI, LEN(X), LEN5(X) and HEX(X) by the length of a part, by five more, in hexadecimal.

`python3 forgeries.py` lists them. `forgeries.py send` reads what to send from its standard input, as Sender.run() writes
it, and is run in the attacker's network namespace.
"""
import base64
import json
import socket
import subprocess
import sys
import threading
import time

TARGETS = ["VICTIM", "VICTIM6", "HOP", "HOP2", "SERVER", "GATEWAY", "127.0.0.1", "::1", "0.0.0.0", "255.255.255.255",
           "169.254.169.254", "224.0.0.1", "::ffff:127.0.0.1"]

# One value of X-Forwarded-For.
VALUES = [
    "", " ", ",", ",,", "VICTIM,", "VICTIM ,", "VICTIM,,,,", ",VICTIM", ", VICTIM", "VICTIM, VICTIM", "VICTIM VICTIM",
    "VICTIM;", "VICTIM; VICTIM", "VICTIM|VICTIM", "VICTIM\tVICTIM", "\tVICTIM\t", "   VICTIM   ", "VICTIM:80", "VICTIM:65535",
    "VICTIM:65536", "VICTIM:-1", "VICTIM:", "VICTIM:http", "VICTIM:80:80", ":80", '"VICTIM"', '"VICTIM:80"', '"VICTIM',
    'VICTIM"', '""', '"', '",', '"VICTIM,', '\\"VICTIM', "'VICTIM'", "`VICTIM`", "[VICTIM]", "[VICTIM]:80", "[VICTIM6]",
    "[VICTIM6]:443", "VICTIM6:443", '"[VICTIM6]:443"', "[VICTIM6", "VICTIM6]", "[", "::ffff:VICTIM", "[::ffff:VICTIM]:80",
    "::VICTIM", "VICTIM6%eth0", "[VICTIM6%25eth0]", "64:ff9b::VICTIM", "VICTIM/32", "VICTIM/0", "0VICTIM", "VICTIM.",
    "0x0a4d0909", "172820745", "10.77.2313", "012.0115.011.011", "unknown", "_hidden", "unknown, VICTIM", "VICTIM, unknown",
    "_hidden, VICTIM", "localhost", "victim.example", "-", "null", "unix:", "for=VICTIM", 'for="', "for=VICTIM, for=VICTIM",
    "X-Forwarded-For: VICTIM", "VICTIM%2C%20VICTIM", "VICTIM%0d%0a", "VICTIM\\r\\nX-Forwarded-For: VICTIM", "VICTIM, HOP",
    "HOP, VICTIM", "VICTIM, HOP, HOP2", "VICTIM, HOP2, HOP", "HOP, HOP2", "VICTIM, HOP, HOP, HOP, HOP, HOP, HOP, HOP, HOP, HOP",
    "VICTIM, 127.0.0.1, HOP", "VICTIM, VICTIM6, SERVER, GATEWAY", "VICTIM, [::ffff:HOP]:80", 'VICTIM, "HOP"', 'VICTIM, "',
    "VICTIM, \\", "{VICTIM}", "<VICTIM>", "(VICTIM)", "VICTIM (HOP)",
]

# The header's name in other spellings, which some reader takes for it, and other headers that name clients.
NAMES = [
    "x-forwarded-for", "X-FORWARDED-FOR", "x-FORWARDED-for", "X_Forwarded_For", "X-Forwarded_For", "HTTP_X_FORWARDED_FOR",
    "X-Forwarded-For ", "X-Forwarded-For\t", " X-Forwarded-For", "\tX-Forwarded-For", "X-Forwarded-For\0", "\0X-Forwarded-For",
    "X-Forwarded-For\v", "X-Forwarded-For\r", "X-Forwarded-For\x7f", "X-Forwarded-For\xa0", "X-Forwarded-For-", "X-Forwarded",
    "X.Forwarded.For", "XForwardedFor", "X--Forwarded-For", "X-Forwarded-For:", "X-Forwarded-For;x", '"X-Forwarded-For"',
    "Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Server", "X-Forwarded-By", "X-Original-Forwarded-For", "X-Real-IP",
    "X-Real-Ip", "X_Real_IP", "X-RealIP", "X-Client-IP", "Client-IP", "X-Cluster-Client-IP", "True-Client-IP",
    "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "Fastly-Client-IP", "X-Azure-ClientIP", "X-Azure-SocketIP",
    "X-Envoy-External-Address", "CloudFront-Viewer-Address", "X-Originating-IP", "X-Remote-IP", "X-Remote-Addr", "Remote-Addr",
    "REMOTE_ADDR", "WL-Proxy-Client-IP", "Proxy-Client-IP", "X-Appengine-User-IP", "X-ProxyUser-Ip", "Via", "From", "X-Host",
    "Cookie", "User-Agent", "Referer", "Origin", "Authorization", "PROXY TCP4 VICTIM SERVER 1 80", "X-Sekisho-Client",
]

XFF = "X-Forwarded-For: VICTIM"
# Several lines of header.
LINES = [
    f"{XFF}\r\n{XFF}", "X-Forwarded-For: 192.0.2.1\r\n" + XFF, XFF + "\r\nX-Forwarded-For: 192.0.2.1",
    XFF + "\r\nX-Forwarded-For:", "X-Forwarded-For:\r\n" + XFF, XFF + "\r\nX-Forwarded-For: HOP",
    XFF + "\r\nx-forwarded-for: HOP2\r\nX-FORWARDED-FOR: HOP", XFF + "\r\nX-Pad: 1\r\n" + XFF + "\r\nX-Pad: 2\r\n" + XFF,
    "\r\n".join([XFF] * 5), "\r\n".join([XFF] * 62), "\r\n".join([XFF] * 63), "\r\n".join([XFF] * 64), "\r\n".join([XFF] * 65),
    "\r\n".join([XFF] * 90), "\r\n".join([XFF] * 200), 'X-Forwarded-For: "\r\n' + XFF,
    'X-Forwarded-For: "VICTIM\r\nX-Forwarded-For: VICTIM"', XFF + "\r\nX-Real-IP: VICTIM\r\nForwarded: for=VICTIM",
    XFF + "\r\nX_Forwarded_For: VICTIM\r\nX-Forwarded_For: VICTIM", XFF + "\r\nTrue-Client-IP: VICTIM6",
    "X-Real-IP: VICTIM\r\nX-Real-IP: HOP",
    # Headers that a proxy is told to take off on its way, so that what it wrote itself would be gone.
    XFF + "\r\nConnection: X-Forwarded-For", "Connection: close, X-Forwarded-For\r\n" + XFF,
    XFF + "\r\nConnection: keep-alive, X-Real-IP, Forwarded", XFF + "\r\nProxy-Connection: X-Forwarded-For",
    XFF + "\r\nKeep-Alive: X-Forwarded-For", XFF + "\r\nTE: trailers\r\nTrailer: X-Forwarded-For",
    # Folded lines, ends of lines, control bytes.
    "X-Forwarded-For: 192.0.2.1,\r\n VICTIM", "X-Forwarded-For:\r\n VICTIM", "X-Forwarded-For:\r\n\tVICTIM",
    "X-Pad: 1\r\n " + XFF, "X-Pad: 1\r\n\t" + XFF + "\r\n " + XFF, "X-Pad: 1\n" + XFF + "\nX-Pad: 2", "X-Pad: 1\r" + XFF,
    XFF + "\rX-Pad: 1", XFF + "\r\r", "X-Forwarded-For: VICTIM\0", "X-Forwarded-For: \0VICTIM",
    "X-Forwarded-For: VICTIM\0, 192.0.2.1", "X-Forwarded-For: VICTIM\x01", "X-Forwarded-For:\v VICTIM",
    "X-Forwarded-For:\f VICTIM", "X-Forwarded-For: VICTIM\x7f", "X-Forwarded-For: VICTIM\x85", "X-Forwarded-For:\xa0VICTIM",
    "X-Forwarded-For: \xef\xbb\xbfVICTIM", "X-Forwarded-For: \xd9\xa1\xd9\xa0.77.9.9", "X-Forwarded-For: VICTIM\xff\xfe",
    "X-Forwarded-For VICTIM", "X-Forwarded-For\r\n: VICTIM", "X-Forwarded-For: VICTIM\n\r", "X-Forwarded-For:VICTIM",
]

FORWARDED = [
    "for=VICTIM", 'for="VICTIM"', 'for="VICTIM:80"', 'for="[VICTIM6]"', 'for="[VICTIM6]:443"', "for=[VICTIM6]", "For=VICTIM",
    "FOR=VICTIM", "for=VICTIM;proto=http;by=HOP", "proto=http;for=VICTIM", "for=VICTIM;for=VICTIM", "for=VICTIM, for=HOP",
    "for=HOP, for=VICTIM", "for=unknown", "for=_x", 'for="', 'for="VICTIM', 'for="VICTIM\\', 'for="VICTIM\\"', '"', '\\"',
    "for=VICTIM\\", 'for=VICTIM;host="', 'for=VICTIM;x="\\', 'for=VICTIM;x="a, for=HOP', 'for=VICTIM;x="a,b";y="c\\",d"',
    '"for=VICTIM"', "for=VICTIM,", "for=VICTIM,,,", ",", ";", "for", "for=", "=VICTIM", "by=VICTIM", "VICTIM", "for =VICTIM",
    "for= VICTIM", "for=VICTIM\r\nForwarded: for=VICTIM", 'for="\r\nForwarded: x", for=VICTIM',
    "for=HOP\r\nForwarded: for=VICTIM;proto=http", "for=127.0.0.1", 'for=VICTIM;host="a;for=HOP"', 'for="VICTIM";x="',
    'for=x;y="\r\nX-Forwarded-For: VICTIM',
]

PADDING = [1000, 4000, 7000, 15000, 30000, 60000]

# Whole requests. GET, POST: lines that are said once.
GET = "GET ATTACK HTTP/1.1\r\nHost: server\r\n"
POST = "POST ATTACK HTTP/1.1\r\nHost: server\r\n"
INNER = "GET ATTACK HTTP/1.1\r\nHost: server\r\nX-Forwarded-For: VICTIM\r\nForwarded: for=VICTIM\r\nX-Real-IP: VICTIM\r\n\r\n"
PROXY1 = "PROXY TCP4 VICTIM SERVER 4711 80\r\n"
PROXY2 = "\r\n\r\n\0\r\nQUIT\n"
WHOLE = [
    # PROXY headers where a client can put them.
    PROXY1 + GET + "\r\n", "PROXY TCP6 VICTIM6 ::1 4711 80\r\n" + GET + "\r\n", "PROXY UNKNOWN\r\n" + GET + "\r\n",
    PROXY1 + PROXY1 + GET + "\r\n", PROXY1.replace("\r", "") + GET + "\r\n", PROXY1.replace(" 4711", " 04711") + GET + "\r\n",
    "\r\n" + PROXY1 + GET + "\r\n", GET + "\r\n" + PROXY1 + GET + "\r\n",
    PROXY2 + "\x21\x11\0\x0c\x0a\x4d\x09\x09\x0a\x4d\x1e\x01\x12\x67\0\x50" + GET + "\r\n",
    PROXY2 + "\x20\0\0\0" + GET + "\r\n", PROXY2 + "\x21\0\0\0" + GET + "\r\n", PROXY2 + "\x21\x11\0\x00" + GET + "\r\n",
    PROXY2 + "\x21\x11\xff\xff" + GET + "\r\n", POST + "Content-Length: LEN(PROXY1)\r\n\r\n" + PROXY1,
    POST + "Transfer-Encoding: chunked\r\n\r\nHEX(PROXY1)\r\n" + PROXY1 + "\r\n0\r\n\r\n",
    "PROXY ATTACK HTTP/1.1\r\nHost: server\r\n" + XFF + "\r\n\r\n",
    "PROXY ATTACK HTTP/1.1\r\nHost: server\r\n" + XFF + "\r\n\r\n" + GET + XFF + "\r\n\r\n",
    # Several requests: each of them is the attacker's.
    (GET + XFF + "\r\n\r\n") * 2, GET + "\r\n" + INNER, (GET + XFF + "\r\n\r\n") * 5,
    GET + "X-Forwarded-For: 192.0.2.1\r\n\r\n" + INNER * 2, POST + "Content-Length: 3\r\n\r\nabc" + INNER,
    POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + INNER,
    "HEAD ATTACK HTTP/1.1\r\nHost: server\r\n\r\n" + INNER, "OPTIONS ATTACK HTTP/1.1\r\nHost: server\r\n\r\n" + INNER,
    # Requests that hide in another one, if server and proxy disagree about where that one ends.
    POST + "Content-Length: LEN(INNER)\r\n\r\n" + INNER, POST + "Content-Length: 0\r\n\r\n" + INNER,
    GET + "Content-Length: LEN(INNER)\r\n\r\n" + INNER,
    POST + "Content-Length: LEN5(INNER)\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + "HEX(INNER)\r\n" + INNER + "\r\n0\r\n\r\n",
    POST + "Content-Length: 6\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nX" + INNER,
    POST + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + INNER,
    POST + "X: 1\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + INNER,
    POST + "Content-Length: 0\r\nContent-Length: LEN(INNER)\r\n\r\n" + INNER,
    POST + "Content-Length: LEN(INNER)\r\nContent-Length: 0\r\n\r\n" + INNER,
    POST + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + INNER, POST + "Content-Length: 0, LEN(INNER)\r\n\r\n" + INNER,
    POST + "Content-Length: +3\r\n\r\nabc" + INNER, POST + "Content-Length: 0x3\r\n\r\nabc" + INNER,
    POST + "Content-Length: -1\r\n\r\n" + INNER, POST + "Content-Length : 3\r\n\r\nabc" + INNER,
    POST + "Content-Length: 3 3\r\n\r\nabc" + INNER, POST + "Content_Length: 3\r\n\r\n" + INNER,
    POST + "Content-Length: 18446744073709551619\r\n\r\nabc" + INNER,
    POST + "Transfer-Encoding: chunked\r\n\r\n3;x=\"\r\nabc\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding: chunked\r\n\r\n03\r\nabc\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n" + INNER,
    POST + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n" + INNER,
    POST + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + XFF + "\r\n\r\n" + INNER,
    POST + "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n" + INNER,
    "GET ATTACK HTTP/1.0\r\nConnection: keep-alive\r\n" + XFF + "\r\n\r\n" + INNER, "GET ATTACK\r\n" + XFF + "\r\n\r\n",
    "GET ATTACK HTTP/0.9\r\n" + XFF + "\r\n\r\n",
    GET + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQ\r\n" + XFF + "\r\n\r\n" + INNER,
    GET + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n" + XFF + "\r\n\r\n" + INNER,
    "CONNECT VICTIM:80 HTTP/1.1\r\nHost: VICTIM:80\r\n\r\n" + INNER,
    POST + "Expect: 100-continue\r\nContent-Length: 3\r\n" + XFF + "\r\n\r\nabc" + INNER,
    # The address where something might pick it up.
    "GET http://VICTIM/ATTACK HTTP/1.1\r\nHost: VICTIM\r\n" + XFF + "\r\n\r\n",
    "GET http://VICTIM@server/ATTACK HTTP/1.1\r\nHost: server\r\n\r\n", "GET ATTACK HTTP/1.1\r\nHost: VICTIM\r\n\r\n",
    'GET ATTACK HTTP/1.1\r\nHost: a",for=VICTIM;x="b\r\n\r\n', "GET ATTACK HTTP/1.1\r\nHost: VICTIM\r\nHost: HOP\r\n\r\n",
    "GET ATTACK&x=%0d%0aX-Forwarded-For:%20VICTIM HTTP/1.1\r\nHost: server\r\n\r\n",
    "GET ATTACK&X-Forwarded-For=VICTIM HTTP/1.1\r\nHost: server\r\n\r\n",
    "GET ATTACK HTTP/1.1\r\nHost: server\r\nUser-Agent: x\\r\\nX-Forwarded-For: VICTIM\r\n\r\n",
    "GET  ATTACK HTTP/1.1\r\n" + XFF + "\r\n\r\n", "\r\n\r\n" + GET + XFF + "\r\n\r\n",
    "get ATTACK HTTP/1.1\r\nHost: server\r\n" + XFF + "\r\n\r\n", "GET ATTACK HTTP/1.1\n" + XFF + "\n\n",
    "GET ATTACK HTTP/2.0\r\nHost: server\r\n" + XFF + "\r\n\r\n",
    "GET ATTACK HTTP/1.1 X-Forwarded-For: VICTIM\r\nHost: server\r\n\r\n", "X-Forwarded-For: VICTIM\r\n" + GET + "\r\n",
    GET + XFF,
]


def _templates():
    """(family, request) of every forgery."""
    def with_lines(lines):
        return f"{GET}{lines}\r\nConnection: close\r\n\r\n"
    for t in TARGETS:
        yield "target", with_lines(f"X-Forwarded-For: {t}")
    for v in VALUES:
        yield "value", with_lines(f"X-Forwarded-For: {v}")
    for n in NAMES:
        yield "name", with_lines(f"{n}: VICTIM")
    for lines in LINES:
        yield "lines", with_lines(lines)
    for v in FORWARDED:
        yield "forwarded", with_lines(f"Forwarded: {v}")
    for size in PADDING:
        for fill in (",", '"', " ", "a"):
            yield "padding", with_lines("X-Forwarded-For: " + fill * size + "VICTIM")
        yield "padding", with_lines("X-Forwarded-For: " + "VICTIM, " * (size // 11) + "VICTIM")
        yield "padding", with_lines("Forwarded: " + "for=VICTIM, " * (size // 15) + "for=VICTIM")
        yield "padding", with_lines("X-Pad: " + "p" * size + "\r\nX-Forwarded-For: VICTIM")
    for r in WHOLE:
        yield "whole", r


class Forgery:
    def __init__(self, number, family, template):
        self.number, self.family, self.template = number, family, template

    def bytes(self, uri, words):
        """The request; words: {"VICTIM": address, ...}."""
        def fill(text):
            text = text.replace("ATTACK", uri)
            for word in sorted(words, key=len, reverse=True):
                text = text.replace(word, words[word])
            return text
        text = self.template
        for name, part in (("INNER", INNER), ("PROXY1", PROXY1)):
            size = len(fill(part))
            for word, number in (("LEN", str(size)), ("LEN5", str(size + 5)), ("HEX", f"{size:x}")):
                text = text.replace(f"{word}({name})", number)
        return fill(text).encode("latin-1")


FORGERIES = [Forgery(i, family, template) for i, (family, template) in enumerate(_templates())]


# --- sending ---


class Sender:
    """Gathers requests, each from an address of its own, and sends them from a network namespace."""

    def __init__(self):
        self.jobs = []

    def add(self, source, target, port, data):
        self.jobs.append([source, target, port, base64.b64encode(data).decode()])

    def run(self, namespace):
        """The statuses of the answers, one list a request, in the order added."""
        done = subprocess.run(["ip", "netns", "exec", namespace, sys.executable, "-B", __file__, "send"], text=True, check=True,
                              input=json.dumps(self.jobs), stdout=subprocess.PIPE, timeout=120)
        self.jobs = []
        return json.loads(done.stdout)


def _exchange(source, target, port, data, wait=1.0, silence=0.1):
    """Sends data and reads until the other side ends, or falls silent behind an answer; the statuses of its answers."""
    got = b""
    try:
        with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET) as s:
            s.settimeout(5)
            s.bind((source, 0))
            s.connect((target, port))
            s.sendall(data)
            end = time.monotonic() + wait
            while time.monotonic() < end and len(got) < 1 << 20:
                s.settimeout(silence if got else max(0.01, end - time.monotonic()))
                piece = s.recv(65536)
                if not piece:
                    break
                got += piece
    except OSError:
        pass  # reset, or silence: what was answered until then counts
    return [int(line[9:12]) for line in got.split(b"\n") if line.startswith(b"HTTP/1.") and line[9:12].isdigit()]


def _send_all(jobs, threads=24):
    answers, turn, lock = [None] * len(jobs), iter(range(len(jobs))), threading.Lock()

    def work():
        while True:
            with lock:
                i = next(turn, None)
            if i is None:
                return
            source, target, port, data = jobs[i]
            answers[i] = _exchange(source, target, port, base64.b64decode(data))
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return answers


if __name__ == "__main__":
    if sys.argv[1:] == ["send"]:
        json.dump(_send_all(json.load(sys.stdin)), sys.stdout)
    else:
        for f in FORGERIES:
            print(f.number, f.family, repr(f.template[:160]))
