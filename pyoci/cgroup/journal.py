"""What an update has changed so far, to be told and to be taken back."""

from __future__ import annotations

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str], None]


def _nowhere(text: str) -> None:
    """Where nobody listens."""


class Journal:
    """The changes made, in order. An exception that leaves a `with` of it takes all of them back.

    warn, debug  called with one sentence each: what the user must hear of; every single change
    """

    __slots__ = ("_made", "debug", "warn")

    def __init__(self, warn: Say = _nowhere, debug: Say = _nowhere) -> None:
        self.warn = warn
        self.debug = debug
        self._made: list[tuple[str, Callable[[], None] | None]] = []

    def note(self, what: str, back: Callable[[], None] | None) -> None:
        """A change was made, or half made: `back` takes it back; None where nothing can."""
        self._made.append((what, back))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        said = self.undo()
        if isinstance(error, Error):
            error.message += said

    def undo(self) -> str:
        """Takes all back, the last change first: each value was in force beside those still there.

        Says so in words that go after an error's message; "" if nothing was changed.
        """
        restored, lost = [], []
        while self._made:
            what, back = self._made.pop()
            if back is None:
                lost.append(what)
                continue
            try:
                back()
                restored.append(what)
            except Error as error:
                lost.append(f"{what} ({error.message})")
            except OSError as error:
                lost.append(f"{what} ({(error.strerror or '').lower()})")
        said = f"; put back as it was: {', '.join(dict.fromkeys(restored))}" if restored else ""
        return said + (f"; could NOT be put back: {', '.join(dict.fromkeys(lost))}" if lost else "")
