"""Servers that run already, for `serve --upstream`, and a witness before those that speak HTTP."""

import socket
import subprocess
import threading
import time
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from suite.world import PATIENCE, Failed, end, start


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Server:
    """A process that listens, ended with the world."""

    def __init__(self, port, command, env=None):
        self.port = port
        self.process = start(command, env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                return socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
        end(self.process)
        raise Failed(f"nothing listens on {port}: {' '.join(map(str, command))[:200]}")


class Witness(ThreadingHTTPServer):
    """Passes requests on to a server and writes down each message before the server has it, as `tee` does for a pipe."""

    daemon_threads = True

    def __init__(self, port, log):
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind, self.log, self.writing, self.heads = port, log, threading.Lock(), []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/mcp"

    def note(self, head, body):
        with self.writing, self.log.open("ab") as log:
            self.heads.append(head)
            log.write(body + b"\n" if body else b"")

    def handle_error(self, request, client_address):
        pass  # a gateway that hangs up is no fault


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.note((self.command, dict(self.headers)), body)
        behind = HTTPConnection("127.0.0.1", self.server.behind)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            behind.request(self.command, self.path, body or None, headers)
            answer = behind.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while octets := answer.read1(65536):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(octets), octets))
            self.wfile.write(b"0\r\n\r\n")
        except (OSError, HTTPException):
            self.close_connection = True
        finally:
            behind.close()

    do_GET = do_POST = do_DELETE = pass_on

    def log_message(self, *_):
        pass


def listen_like_inetd(family, address, command):
    """Starts `command` for each connection, with the connection as its stdin and stdout."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen()

    def serve():
        while True:
            connection, _ = listener.accept()
            with connection:
                subprocess.Popen([str(word) for word in command], stdin=connection, stdout=connection,
                                 stderr=subprocess.DEVNULL)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()
