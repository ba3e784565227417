"""A client without an SDK: lines of JSON through `connect`, for what the SDKs keep to themselves."""

import json
import subprocess
import threading
from collections import deque

from suite.world import PATIENCE, Failed, end, start


class Wire:
    """One session, spoken by hand. Everything that arrives is kept in `arrived`, in its order."""

    def __init__(self, command):
        self.process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.arrived, self.closed, self.news = deque(), False, threading.Condition()
        self.ids = 0
        threading.Thread(target=self.listen, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)

    def listen(self):
        for line in self.process.stdout:
            with self.news:
                self.arrived.append(json.loads(line))
                self.news.notify_all()
        with self.news:
            self.closed = True
            self.news.notify_all()

    def wait(self, found, what):
        """The first message for which `found`; the end of the session is an answer too: None."""
        def look():
            return next((message for message in self.arrived if found(message)), None)

        with self.news:
            if not self.news.wait_for(lambda: look() or self.closed, PATIENCE):
                raise Failed(f"nothing came in {PATIENCE:g} s: {what}")
            return look()

    def send(self, method, params, **rest):
        message = {"jsonrpc": "2.0", **rest, "method": method, "params": params}
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        """Send a request and return its id."""
        self.ids += 1
        self.send(method, params, id=self.ids)
        return self.ids

    def answer(self, asked, what=""):
        return self.wait(lambda message: message.get("id") == asked and "method" not in message, what or f"answer {asked}")

    def request(self, method, params=None):
        answer = self.answer(self.ask(method, params or {}), method)
        if answer is None:
            raise Failed(f"the session ended before it answered {method}")
        return answer

    def call(self, name, **arguments):
        return self.request("tools/call", {"name": name, "arguments": arguments})

    def initialize(self, **capabilities):
        client = {"name": "interop-wire", "version": "1"}
        answer = self.request("initialize", {
            "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client})
        self.send("notifications/initialized", {})
        return answer

    def hang_up(self):
        """Close stdin, as a client does that is done, and return the exit code of `connect`."""
        self.process.stdin.close()
        return self.exit_code()

    def exit_code(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"connect was still there after {PATIENCE:g} s") from None
