"""A TCP balancer for tests: each connection goes to the next backend that accepts it, which may be a way off."""
import itertools
import select
import socket
import threading
import time


class Balancer:
    def __init__(self, backends, address="127.0.0.1", delay=0):
        self.delay = delay  # s, each way
        self.backends, self.turn = list(backends), itertools.count()
        self.listener = socket.create_server((address, 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.connections = {b: 0 for b in self.backends}
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def connect(self):
        first = next(self.turn)
        for i in range(len(self.backends)):
            backend = self.backends[(first + i) % len(self.backends)]
            try:
                s = socket.create_connection(backend, 2)
                self.connections[backend] += 1
                return s
            except OSError:
                continue
        return None

    def serve(self, client):
        server = self.connect()
        if server is None:
            client.close()
            return
        pair = {client: server, server: client}
        for s in pair:  # a message in two pieces does not wait for its first one's acknowledgement
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                for s in select.select(list(pair), [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        return
                    if self.delay:
                        time.sleep(self.delay)
                    pair[s].sendall(data)
        except OSError:
            pass
        finally:
            client.close()
            server.close()
