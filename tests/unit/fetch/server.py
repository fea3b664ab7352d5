#!/usr/bin/env python3
"""A server of good and bad answers for test_fetch. Usage: server.py DIR. Makes certificates in DIR, prints the ports
of: HTTP, TLS, TLS that wants a client's certificate, TLS 1.1 only, TLS for another name. Ends with its standard input."""
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.1 is old: that is the point
d = sys.argv[1]


def openssl(*args):
    subprocess.run(("openssl",) + args, cwd=d, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def make_ca(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            "/CN=" + name, "-keyout", name + ".key", "-out", name + ".pem", "-addext", "keyUsage=critical,keyCertSign")


def make_cert(name, ca, san, usage):
    with open(os.path.join(d, name + ".ext"), "w") as f:
        f.write("subjectAltName=%s\nextendedKeyUsage=%s\n" % (san, usage))
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name, "-keyout",
            name + ".key", "-out", name + ".csr")
    openssl("x509", "-req", "-in", name + ".csr", "-CA", ca + ".pem", "-CAkey", ca + ".key", "-days", "2", "-extfile",
            name + ".ext", "-out", name + ".pem", "-set_serial", str(time.time_ns()))


def answer(body=b"", status="200 OK", headers=""):
    return ("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, headers, len(body))).encode() + body


class Reset(Exception):
    pass


resets = 0  # requests that got one


def reply(path, method, head, body, peer):
    """Bytes to send, and whether the connection stays."""
    global resets
    if path == "/echo":
        names = [h.split(":")[0] for h in head]
        return answer(json.dumps({"method": method, "headers": head, "names": names,
                                  "body": body.decode("latin-1")}).encode()), True
    if path == "/resets":
        return answer(str(resets).encode()), True
    if path == "/port":
        return answer(str(peer[1]).encode()), True
    if path.startswith("/big"):
        return answer(b"x" * int(path[4:])), True
    if path.startswith("/status"):
        return answer(b"", path[7:] + " Whatever"), True
    if path == "/slow":
        time.sleep(3)
        return answer(), True
    if path == "/nap":
        time.sleep(0.2)
        return answer(b"rested"), True
    if path == "/truncated":
        return answer(b"y" * 1000)[:-990], False
    if path == "/chunked":
        return (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), True
    if path == "/endless":
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"z" * 4096 + b"\r\n", False
    if path == "/toclose":
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", False
    if path == "/longhead":
        return answer(headers="".join("X-%d: %s\r\n" % (i, "v" * 1000) for i in range(90))), False
    if path == "/garbage":
        return b"\x00\x01\x02 this is not HTTP\r\n\r\n", False
    if path == "/redirect":
        return answer(status="302 Found", headers="Location: /echo\r\n"), True
    if path == "/aws":
        return answer(b"{}", "400 Bad Request", "Date: Tue, 02 Jan 2024 03:04:05 GMT\r\nretry-after: 7\r\n"
                      "x-amzn-ErrorType: WAFOptimisticLockException:http://internal/\r\n"), True
    if path == "/early":
        return b"HTTP/1.1 103 Early Hints\r\nRetry-After: 99\r\n\r\n" + answer(b"late"), True
    resets += 1
    raise Reset()


def serve_one(conn, peer):
    f = conn.makefile("rb")
    while True:
        line = f.readline()
        m = re.match(rb"(\S+) (\S+) HTTP/1\.1\r\n", line)
        if not m:
            return
        head, length = [], 0
        while (h := f.readline().rstrip(b"\r\n")):
            head.append(h.decode("latin-1"))
            if h.lower().startswith(b"content-length:"):
                length = int(h.split(b":")[1])
        out, stays = reply(m[2].decode(), m[1].decode(), head, f.read(length), peer)
        conn.sendall(out)
        if not stays:
            return


def linger(raw):
    """Or the reset that closing sends would overtake the alert."""
    raw.settimeout(2)
    try:
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(4096):
            pass
    except OSError:
        pass


def wrap(raw, ctx):
    conn = ctx.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
    try:
        conn.do_handshake()
    except ssl.SSLError:
        linger(socket.socket(fileno=os.dup(conn.fileno())))
        raise
    return conn


def serve(conn, peer, ctx):
    raw = conn
    try:
        if ctx:
            conn = wrap(conn, ctx)
        serve_one(conn, peer)
    except Reset:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    finally:
        conn.close()


def listen(ctx=None):
    s = socket.create_server(("127.0.0.1", 0), backlog=64)

    def loop():
        while True:
            conn, peer = s.accept()
            threading.Thread(target=serve, args=(conn, peer, ctx), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()
    return s.getsockname()[1]


def context(cert, client_ca=None, old=False):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if old:
        ctx.set_ciphers("ALL:@SECLEVEL=0")
        ctx.minimum_version = ctx.maximum_version = ssl.TLSVersion.TLSv1_1
    ctx.load_cert_chain(os.path.join(d, cert + ".pem"), os.path.join(d, cert + ".key"))
    if client_ca:
        ctx.verify_mode = ssl.CERT_REQUIRED
        ctx.load_verify_locations(os.path.join(d, client_ca + ".pem"))
    return ctx


make_ca("ca")
make_ca("other")
make_cert("server", "ca", "IP:127.0.0.1,DNS:localhost", "serverAuth")
make_cert("elsewhere", "ca", "DNS:elsewhere.invalid", "serverAuth")
make_cert("client", "ca", "DNS:client", "clientAuth")
make_cert("stranger", "other", "DNS:client", "clientAuth")
print(listen(), listen(context("server")), listen(context("server", "ca")), listen(context("server", old=True)),
      listen(context("elsewhere")), flush=True)
sys.stdin.read()
