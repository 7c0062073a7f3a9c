"""Reading flatbuffers without a schema compiler: every offset is held against the file's end.

The layout is that of https://flatbuffers.dev/internals/: little-endian; a table starts with the
signed distance to its vtable, which holds its own size, the table's size, and for each field the
distance from the table's start, 0 for a field that has its default; strings, vectors and tables are
unsigned distances from where they are written, so that they always point forward.
"""

from __future__ import annotations

import struct
from typing import NoReturn

from ...errors import FormatError, explain

SIZES = {"b": 1, "B": 1, "?": 1, "h": 2, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8, "f": 4}


class File:
    """The bytes of a file, read only within their bounds, and only so often.

    Parts of a damaged file may all point to one long vector. A file is refused once more than
    four entries per byte have been read, so that the time to read it is bounded by its length.
    """

    def __init__(self, data: bytes) -> None:
        """Keep the bytes."""
        self.data = data
        self._left = 4 * max(len(data), 1000)

    def number(self, at: int, kind: str) -> int:
        """One number of a kind that `struct` knows, at a byte."""
        size = SIZES[kind]
        if at < 0 or at + size > len(self.data):
            raise_damaged("it refers to bytes beyond its end", at=at, bytes=len(self.data))
        value: int = struct.unpack_from("<" + kind, self.data, at)[0]
        return value

    def follow(self, at: int) -> int:
        """The byte that the offset at a byte refers to."""
        distance = self.number(at, "I")
        if not 4 <= distance < len(self.data) - at:
            raise_damaged("an offset leaves the file", at=at, offset=distance, bytes=len(self.data))
        return at + distance

    def vector(self, at: int, size: int) -> tuple[int, int]:
        """Where the entries of a vector start, and how many of the given size there are."""
        count = self.number(at, "I")
        if count * size > len(self.data) - at - 4:
            raise_damaged(
                "a list is longer than the file", at=at, entries=count, bytes=len(self.data)
            )
        return at + 4, count

    def spend(self, entries: int) -> None:
        """Count entries that are read; refuse a file whose parts are read over and over."""
        self._left -= entries
        if self._left < 0:
            raise_damaged("its parts are shared more often than in any real file")

    def root(self) -> Table:
        """The table that the file starts with."""
        return Table(self, self.follow(0))


class Table:
    """A table of a file; fields are asked for by their number in the schema."""

    def __init__(self, file: File, at: int) -> None:
        """Find the table's vtable."""
        self.file, self.at = file, at
        self.vtable = at - file.number(at, "i")
        self.size = file.number(self.vtable, "H")
        if self.size < 4 or self.size % 2:
            raise_damaged("a table has no valid list of fields", at=at, size=self.size)
        file.number(self.vtable + self.size - 2, "H")
        file.spend(1)

    @property
    def fields(self) -> int:
        """How many fields the vtable has room for."""
        return (self.size - 4) // 2

    def place(self, field: int) -> int | None:
        """The byte at which a field lies, or None if it has its default."""
        if field >= self.fields:
            return None
        distance = self.file.number(self.vtable + 4 + 2 * field, "H")
        return self.at + distance if distance else None

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A field that is a number."""
        place = self.place(field)
        return default if place is None else self.file.number(place, kind)

    def table(self, field: int) -> Table | None:
        """A field that is a table."""
        place = self.place(field)
        return None if place is None else Table(self.file, self.file.follow(place))

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the entries of a vector lie, and how many; (0, 0) if it is absent."""
        place = self.place(field)
        return (0, 0) if place is None else self.file.vector(self.file.follow(place), size)

    def numbers(self, field: int, kind: str = "i") -> tuple[int, ...]:
        """A field that is a vector of numbers."""
        start, count = self.vector(field, SIZES[kind])
        self.file.spend(count)
        return struct.unpack_from(f"<{count}{kind}", self.file.data, start)

    def tables(self, field: int) -> list[Table]:
        """A field that is a vector of tables."""
        start, count = self.vector(field, 4)
        self.file.spend(count)
        places = range(start, start + 4 * count, 4)
        return [Table(self.file, self.file.follow(place)) for place in places]

    def text(self, field: int) -> str:
        """A field that is a string; bytes that are not UTF-8 are replaced."""
        start, count = self.vector(field, 1)
        self.file.spend(count)
        return self.file.data[start : start + count].decode("utf-8", "replace")


def raise_damaged(what: str, **numbers: object) -> NoReturn:
    """Raise the `FormatError` for a file that cannot be read."""
    raise FormatError(explain(f"the file is damaged: {what}", numbers=numbers))
