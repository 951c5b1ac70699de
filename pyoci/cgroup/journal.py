"""What an update changes, noted as data before it is changed: to be told and to be taken back, by the same
process or by a later one.
"""

from __future__ import annotations

from pyoci.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    Result = TypeVar("Result")
    Say = Callable[[str], None]
    Way = Callable[[str, Any], None]
    Note = tuple[str, str, str, Any]


def _nowhere(data: Any) -> None:
    """Where nobody listens, and nothing is kept."""


class Journal:
    """The changes made, in order. An exception that leaves a `with` of it takes all of them back.

    ways         kind of a note -> what takes such a change back, given its place and what was there before:
                 also if it wasn't made, or half of it, or is taken back already
    warn, debug  called with one sentence each: what the user must hear of; every single change
    keep         called with all notes, as JSON can hold them, whenever there are others: before a change is
                 made, and when none is to be taken back any more
    """

    __slots__ = ("debug", "keep", "notes", "warn", "ways")

    def __init__(
        self,
        ways: Mapping[str, Way],
        warn: Say = _nowhere,
        debug: Say = _nowhere,
        keep: Callable[[list[Note]], None] = _nowhere,
    ) -> None:
        self.ways = dict(ways)
        self.warn = warn
        self.debug = debug
        self.keep = keep
        self.notes: list[Note] = []

    def note(self, what: str, kind: str, place: str, before: Any) -> None:
        """A change is about to be made. `what` calls it by name, or is "" if it needn't be told.

        before  JSON; None where nothing can take the change back
        """
        notes = [*self.notes, (what, kind, place, before)]
        self.keep(notes)
        self.notes = notes

    def attempt(self, notes: list[Note], change: Callable[[], Result]) -> Result:
        """Notes what is about to be changed, and changes it. An Error means that it wasn't changed."""
        for note in notes:
            self.note(*note)
        try:
            return change()
        except Error:
            self.drop(len(notes))
            raise

    def drop(self, count: int) -> None:
        """The last changes that were noted have not been made."""
        if not count:
            return
        self.notes = self.notes[:-count]
        try:
            self.keep(self.notes)
        except Error as error:  # what is kept says too much, which a way back can bear
            self.debug(error.message)

    def commit(self) -> None:
        """All is as it should be: nothing is taken back from here on."""
        self.keep([])
        self.notes = []

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
        if not self.notes:
            return ""
        restored, lost = [], []
        for what, kind, place, before in reversed(self.notes):
            try:
                if before is None or kind not in self.ways:
                    lost.append(what)
                else:
                    self.ways[kind](place, before)
                    restored.append(what)
            except Error as error:
                lost.append(f"{what} ({error.message})")
            except OSError as error:
                lost.append(f"{what} ({(error.strerror or '').lower()})")
        self.commit()
        restored = [what for what in restored if what]
        said = f"; put back as it was: {', '.join(dict.fromkeys(restored))}" if restored else ""
        return said + (f"; could NOT be put back: {', '.join(dict.fromkeys(lost))}" if lost else "")
