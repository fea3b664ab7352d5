"""Attackers of 10.78.0.0/16, each with an address of its own, behind the attacker's namespace of bed.py: real TCP to nginx."""
import os
import random
import socket
import struct
import subprocess
import sys
import time

from bed import SERVER_A

REQUEST = b"GET /index.html?id=1%20UNION%20SELECT%201 HTTP/1.1\r\nHost: www\r\n\r\n"
# They are all the clients that there are, and the brake would spare them.
UNBRAKED = "decide:\n  max-blocks: 400000\n  brake:\n    share: 100\n    minimum: 1000000\n    rate: 1000000\n"


def address(i):
    return f"10.78.{i // 250}.{1 + i % 250}"


def route(bed):
    bed.must("ip", "-n", bed.attacker, "route", "add", "local", "10.78.0.0/16", "dev", "lo")
    bed.must("ip", "-n", bed.server, "route", "add", "10.78.0.0/16", "via", "10.77.1.2")


def attack(count, seed, shortest, longest):
    """One after another, pauses of so many seconds between them; says how many were made."""
    rng = random.Random(seed)
    for i in range(count):
        with socket.socket() as s:
            s.settimeout(3)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))  # no FIN that would be sent again
            s.bind((address(i), 0))
            s.connect((SERVER_A, 80))
            s.sendall(REQUEST)
            time.sleep(rng.uniform(shortest, longest))  # not in step with any timer
    print(count)


def start(bed, count, seed=7, shortest=0.008, longest=0.024):
    return subprocess.Popen(["ip", "netns", "exec", bed.attacker, sys.executable, "-B", os.path.abspath(__file__), str(count),
                             str(seed), str(shortest), str(longest)], stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    attack(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
