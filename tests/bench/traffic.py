#!/usr/bin/env python3
"""Makes a capture of web traffic for measuring: traffic.py OUT.pcap [MEGABYTES]. The same bytes every time.

Pages of 1 to 60 kB of words, style sheets, images (random bytes) and forms, over connections of 1 to 20 requests.
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../pcaps"))
from packets import Capture, Conversation, request, response  # noqa: E402

WORDS = ("the of and gate road guard traveller pass paper lantern river bridge horse inn market rice tea letter union "
         "select order from where table script style class window document value name password search page image").split()


def page(rng, size):
    words = " ".join(rng.choice(WORDS) for _ in range(size // 6))
    return f"<html><head><title>{words[:20]}</title></head><body><p>{words}</p></body></html>".encode()


def exchange(rng, bodies):
    kind = rng.random()
    n = rng.randrange(100000)
    agent = rng.choice(("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "Mozilla/5.0 (iPhone) Safari/604.1", "curl/8.5.0"))
    if kind < 0.1:
        form = f"name={rng.choice(WORDS)}&comment={'+'.join(rng.choices(WORDS, k=20))}".encode()
        return request(f"/form/{n}", "POST", (("Content-Type", "application/x-www-form-urlencoded"),), form, agent=agent), \
            response(b"<html>ok</html>")
    if kind < 0.5:
        return request(f"/img/{n}.png", agent=agent), response(rng.choice(bodies["image"]), ctype="image/png")
    return request(f"/page/{n}?q={rng.choice(WORDS)}&page={n % 50}", agent=agent,
                   headers=(("Accept", "text/html,*/*;q=0.8"), ("Cookie", f"session={n:x}"))), \
        response(rng.choice(bodies["page"]))


def main():
    out, size = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    rng = random.Random(7)
    bodies = {"page": [page(rng, rng.randrange(1000, 60000)) for _ in range(100)],
              "image": [rng.randbytes(rng.randrange(1000, 40000)) for _ in range(50)]}
    count = 0
    with Capture(out, step=20) as cap:
        while cap.file.tell() < size * 1000000:
            count += 1
            c = Conversation(cap, f"198.51.{count // 250 % 250}.{count % 250 + 1}", "10.80.0.10", 1024 + count % 60000).open()
            for _ in range(rng.randrange(1, 20)):
                req, reply = exchange(rng, bodies)
                c.client(req, ack=False).server(reply)
            c.close()


if __name__ == "__main__":
    main()
