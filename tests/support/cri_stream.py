"""The standard streams of a program in a pod, over a WebSocket as a kubelet passes them on."""

from __future__ import annotations

import json
import time
from types import TracebackType

import websocket

from support.containers import SECONDS

STDIN, STDOUT, STDERR, OUTCOME, SIZE = range(5)


class Stream:
    """seen  what has come, by the channel"""

    def __init__(self, url: str) -> None:
        url = url.replace("http://", "ws://", 1)
        self.socket = websocket.create_connection(url, SECONDS, subprotocols=["v4.channel.k8s.io"])
        self.seen = {STDOUT: b"", STDERR: b"", OUTCOME: b""}

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()
        self.socket.shutdown()  # which close() leaves undone where the other side was first

    def send(self, text: str, channel: int = STDIN) -> None:
        self.socket.send_binary(bytes([channel]) + text.encode())

    def resize(self, rows: int, columns: int) -> None:
        self.send(json.dumps({"Width": columns, "Height": rows}), SIZE)

    def _receive(self) -> bool:
        """Take one message; whether there was one still."""
        kind, data = self.socket.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            return False
        self.seen[data[0]] += data[1:]
        return True

    def expect(self, text: str, channel: int = STDOUT) -> None:
        deadline = time.monotonic() + SECONDS
        while text.encode() not in self.seen[channel]:
            assert time.monotonic() < deadline and self._receive(), self.seen

    def finish(self) -> tuple[int, str]:
        """What the program ended with, or -1 and why it hasn't begun; all of its output is there then."""
        while self._receive():
            continue
        outcome = json.loads(self.seen[OUTCOME])
        if outcome["status"] == "Success":
            return 0, ""
        (cause,) = outcome["details"]["causes"]
        return int(cause["message"]) if cause.get("reason") == "ExitCode" else -1, outcome["message"]
