"""nftables over netlink, as far as the live tests need it: what a set holds, to the millisecond, and when it changes.

`nft list` takes seconds for a hundred thousand elements, and rounds times to seconds.
"""
import contextlib
import ctypes
import os
import socket
import struct
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
NETLINK_NETFILTER, NFNLGRP_NFTABLES, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, SO_RCVBUFFORCE = 12, 7, 270, 1, 33
SUBSYS, NFPROTO_INET = 10 << 8, 1
DELTABLE, NEWRULE, NEWSETELEM, GETSETELEM = SUBSYS | 2, SUBSYS | 6, SUBSYS | 12, SUBSYS | 13
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_ERROR, NLMSG_DONE = 1, 0x300, 2, 3
TABLE, SETS = "sekisho", ("block4", "block6", "block4p", "block6p")


@contextlib.contextmanager
def inside(namespace):
    """Sockets that are made inside belong to that network namespace; this thread alone enters it."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{namespace}", "rb") as there:
        if LIBC.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            LIBC.setns(home.fileno(), CLONE_NEWNET)


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data):
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4 or at + size > len(data):
            return
        yield kind & 0x3FFF, data[at + 4:at + size]
        at += (size + 3) & ~3


def messages(data):
    """(type, sequence number, body) of each."""
    at = 0
    while at + 16 <= len(data):
        size, kind, _, seq = struct.unpack_from("=IHHI", data, at)
        yield kind, seq, data[at + 16:at + size]
        at += (size + 3) & ~3


def elements(body):
    """(key, flags, milliseconds left or None) of one message of elements; body begins with struct nfgenmsg."""
    for kind, value in attributes(body[4:]):
        for _, element in attributes(value) if kind == 3 else ():
            key, flags, left = None, 0, None
            for k, v in attributes(element):
                if k == 1:
                    key = next(attributes(v))[1]
                elif k == 3:
                    flags = struct.unpack("!I", v)[0]
                elif k == 5:
                    left = struct.unpack("!Q", v)[0]
            yield key, flags, left


def text_of(key):
    return socket.inet_ntop(socket.AF_INET if len(key) == 4 else socket.AF_INET6, key)


class Netlink:
    def __init__(self, namespace=None, listen=False):
        with inside(namespace) if namespace else contextlib.nullcontext():
            self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.sock.bind((0, 0))
        if listen:
            self.sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        self.seq = 0

    def close(self):
        self.sock.close()

    def ask(self, flags, name, keys=()):
        self.seq += 1
        body = struct.pack("=BBH", NFPROTO_INET, 0, 0) + attribute(1, TABLE.encode() + b"\0") + attribute(2, name.encode() + b"\0")
        if keys:
            one = b"".join(attribute(1 | 0x8000, attribute(1 | 0x8000, attribute(1, k))) for k in keys)
            body += attribute(3 | 0x8000, one)
        self.sock.send(struct.pack("=IHHII", 16 + len(body), GETSETELEM, NLM_F_REQUEST | flags, self.seq, 0) + body)

    def dump(self, name):
        """[(key, flags, nanoseconds since the epoch when it ends, or None)]; None: no such set."""
        self.ask(NLM_F_DUMP, name)
        out = []
        while True:
            data = self.sock.recv(1 << 17)
            now = time.time_ns()
            for kind, seq, body in messages(data):
                if seq != self.seq:
                    continue
                if kind == NEWSETELEM:
                    out += [(k, f, None if left is None else now + left * 10**6) for k, f, left in elements(body)]
                elif kind == NLMSG_ERROR:
                    return None
                elif kind == NLMSG_DONE:
                    return out

    def has(self, name, key):
        """Would the set match this key now?"""
        self.ask(0, name, [key])
        for kind, seq, _ in messages(self.sock.recv(1 << 16)):
            if seq == self.seq:
                return kind == NEWSETELEM
        return False


def host_ends(link):
    """{address: when it ends} of both host sets; None without the table."""
    out = {}
    for name in SETS[:2]:
        listed = link.dump(name)
        if listed is None:
            return None
        out.update((text_of(k), end) for k, _, end in listed)
    return out


def real_time():
    """This process before others, so that it tells times well. False: it may not."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        return True
    except PermissionError:
        return False
