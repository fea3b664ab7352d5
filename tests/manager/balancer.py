"""A TCP balancer for tests: each connection goes to the next backend that accepts it."""
import itertools
import select
import socket
import threading


class Balancer:
    def __init__(self, backends, address="127.0.0.1"):
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
        try:
            while True:
                for s in select.select(list(pair), [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        return
                    pair[s].sendall(data)
        except OSError:
            pass
        finally:
            client.close()
            server.close()
