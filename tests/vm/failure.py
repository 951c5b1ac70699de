"""Why the VM did not do what it was to do."""

from __future__ import annotations


class Failure(Exception):
    """One sentence, and the exit status that goes with it."""

    def __init__(self, sentence: str, status: int = 125) -> None:
        super().__init__(sentence)
        self.status = status
