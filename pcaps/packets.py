"""Frames, TCP conversations and capture files from nothing but the standard library; the same bytes every time."""
import ipaddress
import struct

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MAC_C, MAC_S = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
ETHERNET, NULL, RAW, SLL, SLL2 = 1, 0, 101, 113, 276
START = 1700000000 * 1000000  # microseconds


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def addr(text):
    return ipaddress.ip_address(text)


def ip4(src, dst, proto, payload, ident=1, flags=0x4000, offset=0, ttl=64, options=b""):
    """One IPv4 packet; offset in bytes, flags as they lie in the header (0x4000 DF, 0x2000 MF)."""
    ihl = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH4s4s", 0x40 | ihl, 0, ihl * 4 + len(payload), ident & 0xFFFF, flags | offset // 8,
                       ttl, proto, 0, src.packed, dst.packed) + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ip6(src, dst, proto, payload, ext=b""):
    """One IPv6 packet; ext: extension headers whose last names proto (the first is given by ext_first)."""
    first = proto if not ext else 0  # a chain begins with hop-by-hop options here
    return struct.pack(">IHBB", 6 << 28, len(ext) + len(payload), first, 64) + src.packed + dst.packed + ext + payload


def hop_by_hop(following):
    return struct.pack(">BB", following, 0) + b"\x01\x04\0\0\0\0"  # PadN


def pseudo(src, dst, proto, length):
    if src.version == 6:
        return src.packed + dst.packed + struct.pack(">IHBB", length, 0, 0, proto)
    return src.packed + dst.packed + struct.pack(">BBH", 0, proto, length)


def tcp(src, dst, sport, dport, seq, ack, flags, data=b"", window=64240, options=b"", bad=False):
    options += b"\0" * (-len(options) % 4)
    head = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (5 + len(options) // 4) << 4,
                       flags, window, 0, 0) + options
    s = checksum(pseudo(src, dst, 6, len(head) + len(data)) + head + data)
    return head[:16] + struct.pack(">H", s ^ 0x5555 if bad else s) + head[18:] + data


def udp(src, dst, sport, dport, data):
    head = struct.pack(">HHHH", sport, dport, 8 + len(data), 0)
    s = checksum(pseudo(src, dst, 17, 8 + len(data)) + head + data) or 0xFFFF
    return head[:6] + struct.pack(">H", s) + data


def icmp_echo(ident, seq, reply=False, data=b"abcdefghijklmnopqrstuvwabcdefghi"):
    head = struct.pack(">BBHHH", 0 if reply else 8, 0, 0, ident, seq)
    return head[:2] + struct.pack(">H", checksum(head + data)) + head[4:] + data


def ip(src, dst, proto, payload, ident=1):
    return ip6(src, dst, proto, payload) if src.version == 6 else ip4(src, dst, proto, payload, ident)


class Link:
    """How an IP packet becomes a frame of a link type."""

    def __init__(self, linktype=ETHERNET, vlans=()):
        self.type, self.vlans = linktype, vlans

    def frame(self, packet, to_server):
        v6 = packet[0] >> 4 == 6
        etype = 0x86DD if v6 else 0x0800
        if self.type == RAW:
            return packet
        if self.type == NULL:
            return struct.pack("<I", 10 if v6 else 2) + packet
        if self.type == SLL:
            return struct.pack(">HHH8sH", 0 if to_server else 4, 1, 6, MAC_C + b"\0\0", etype) + packet
        if self.type == SLL2:
            return struct.pack(">HHIHBB8s", etype, 0, 2, 1, 0 if to_server else 4, 6, MAC_C + b"\0\0") + packet
        macs = MAC_S + MAC_C if to_server else MAC_C + MAC_S
        tags = b"".join(struct.pack(">HH", 0x88A8 if i == 0 and len(self.vlans) > 1 else 0x8100, v)
                        for i, v in enumerate(self.vlans))
        return macs + tags + struct.pack(">H", etype) + packet


class Capture:
    """A capture file. step: microseconds between frames unless at() says otherwise."""

    def __init__(self, path, link=None, step=1000, ng=False):
        self.file, self.link, self.step, self.now, self.ng = open(path, "wb"), link or Link(), step, START, ng
        if ng:
            self.file.write(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
            self.file.write(struct.pack("<IIHHII", 1, 20, self.link.type, 0, 65535, 20))
        else:
            self.file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, self.link.type))

    def write(self, frame):
        self.now += self.step
        if self.ng:
            body = frame + b"\0" * (-len(frame) % 4)
            total = 32 + len(body)
            self.file.write(struct.pack("<IIIIIII", 6, total, 0, self.now >> 32, self.now & 0xFFFFFFFF, len(frame),
                                        len(frame)) + body + struct.pack("<I", total))
        else:
            self.file.write(struct.pack("<IIII", self.now // 1000000, self.now % 1000000, len(frame), len(frame)) + frame)

    def packet(self, packet, to_server=True):
        self.write(self.link.frame(packet, to_server))

    def pause(self, seconds):
        self.now += int(seconds * 1000000)

    def close(self):
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Conversation:
    """A TCP connection, seen from outside: open(), client() and server() send, close() ends it with FIN."""

    def __init__(self, cap, client, server, sport, dport=80, isn=(1000, 5000), mss=1460):
        self.cap, self.c, self.s, self.sport, self.dport, self.mss = cap, addr(client), addr(server), sport, dport, mss
        self.seq, self.isn = list(isn), isn  # next sequence number of client and server
        self.ident = 1

    def raw(self, side, seq, ack, flags, data=b"", options=b"", bad=False):
        a, b, p, q = (self.c, self.s, self.sport, self.dport) if side == 0 else (self.s, self.c, self.dport, self.sport)
        self.ident += 1
        self.cap.packet(ip(a, b, 6, tcp(a, b, p, q, seq, ack, flags, data, options=options, bad=bad), self.ident),
                        side == 0)

    def open(self):
        mss = struct.pack(">BBH", 2, 4, self.mss)
        self.raw(0, self.seq[0], 0, SYN, options=mss)
        self.raw(1, self.seq[1], self.seq[0] + 1, SYN | ACK, options=mss)
        self.seq = [self.seq[0] + 1, self.seq[1] + 1]
        self.raw(0, self.seq[0], self.seq[1], ACK)
        return self

    def send(self, side, data, ack=True, bad=False):
        for i in range(0, len(data), self.mss):
            part = data[i:i + self.mss]
            self.raw(side, self.seq[side], self.seq[1 - side], ACK | PSH, part, bad=bad)
            self.seq[side] += len(part)
        if ack:
            self.raw(1 - side, self.seq[1 - side], self.seq[side], ACK)
        return self

    def client(self, data, **kw):
        return self.send(0, data, **kw)

    def server(self, data, **kw):
        return self.send(1, data, **kw)

    def close(self):
        self.raw(0, self.seq[0], self.seq[1], FIN | ACK)
        self.raw(1, self.seq[1], self.seq[0] + 1, FIN | ACK)
        self.raw(0, self.seq[0] + 1, self.seq[1] + 1, ACK)
        return self


def request(uri, method="GET", headers=(), body=b"", host="www.example.com", agent="Mozilla/5.0 (X11; Linux x86_64)"):
    lines = [f"{method} {uri} HTTP/1.1", f"Host: {host}"]
    if agent:
        lines.append(f"User-Agent: {agent}")
    lines += [f"{k}: {v}" for k, v in headers]
    if body and not any(k.lower() in ("content-length", "transfer-encoding") for k, _ in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def response(body=b"<html><body>Hello</body></html>\n", status="200 OK", headers=(), ctype="text/html"):
    lines = [f"HTTP/1.1 {status}", "Server: nginx", f"Content-Type: {ctype}"] + [f"{k}: {v}" for k, v in headers]
    if not any(k.lower() == "transfer-encoding" for k, _ in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(data, size):
    out = b""
    for i in range(0, len(data), size):
        part = data[i:i + size]
        out += b"%x\r\n" % len(part) + part + b"\r\n"
    return out + b"0\r\n\r\n"
