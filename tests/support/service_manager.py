"""A service manager's end of sd_notify(3), and a program that notifies it."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import threading
from pathlib import Path

from support.containers import SECONDS

# Says each of its arguments in a message of its own.
SAY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int socket_ = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (!getenv("NOTIFY_SOCKET"))
        return 3;
    strcpy(address.sun_path, getenv("NOTIFY_SOCKET"));
    if (connect(socket_, (struct sockaddr *)&address, sizeof address) < 0)
        return 4;
    for (int i = 1; i < argc; i++)
        if (send(socket_, argv[i], strlen(argv[i]), 0) < 0)
            return 5;
    return 0;
}
"""


class Manager:
    """A service manager's socket, and what it has heard; barriers are closed as they come."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        while True:
            data, ancillary, _, _ = self.socket.recvmsg(4096, 64)
            for _, _, numbers in ancillary:
                for descriptor in array.array("i", numbers):
                    os.close(descriptor)
            if data == b"end":
                return
            self.heard.append(data.decode())

    def close(self) -> list[str]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"end", self.socket.getsockname())
        self.thread.join(SECONDS)
        self.socket.close()
        return self.heard

    def environment(self) -> dict[str, str]:
        return {**os.environ, "NOTIFY_SOCKET": self.address}


def build_say(directory: Path) -> Path:
    """The program that says its arguments, static."""
    (directory / "say.c").write_text(SAY)
    subprocess.run(["cc", "-static", "-o", directory / "say", directory / "say.c"], check=True)
    return directory / "say"
