"""Reading protocol buffers without a schema compiler: every length is held against its end.

The layout is that of https://protobuf.dev/programming-guides/encoding/: a message is a run of
records, each a number that holds field and kind, then a varint, 8 or 4 bytes, or a length and as
many bytes; the last are texts, messages, and lists of numbers.
"""

from __future__ import annotations

import struct

from .flatbuffer import raise_damaged

MOST_RECORDS = 1 << 24  # of one message; a model of 2 GiB that holds more holds nothing else


class Message:
    """The fields of a message by number; what they hold is read on use."""

    def __init__(self, data: memoryview) -> None:
        """Split the bytes into records."""
        self._fields: dict[int, list[int | memoryview]] = {}
        at = count = 0
        while at < len(data):
            key, at = varint(data, at)
            kind, field = key & 7, key >> 3
            value: int | memoryview
            if kind == 0:
                value, at = varint(data, at)
            elif kind in (1, 2, 5):
                size, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
                if size > len(data) - at:
                    raise_damaged("a part is longer than what it lies in", at=at, bytes=size)
                value, at = data[at : at + size], at + size
            else:
                raise_damaged("it has a record of no known kind", at=at, kind=kind)
            count += 1
            if not field or count > MOST_RECORDS:
                raise_damaged("it has no valid list of fields", at=at, field=field)
            self._fields.setdefault(field, []).append(value)

    def messages(self, field: int) -> list[Message]:
        """Every message of a field."""
        return [Message(self._bytes(value)) for value in self._fields.get(field, ())]

    def message(self, field: int) -> Message | None:
        """The one message of a field; the last, if it is written more than once."""
        values = self._fields.get(field)
        return Message(self._bytes(values[-1])) if values else None

    def texts(self, field: int) -> list[str]:
        """Every text of a field; bytes that are not UTF-8 are replaced."""
        values = self._fields.get(field, ())
        return [str(self._bytes(value), "utf-8", "replace") for value in values]

    def text(self, field: int) -> str:
        """The text of a field; "" if it is absent."""
        return (self.texts(field) or [""])[-1]

    def number(self, field: int, default: int = 0) -> int:
        """The whole number of a field, with its sign."""
        values = self._fields.get(field)
        return default if not values else self._signed(values[-1])

    def numbers(self, field: int) -> tuple[int, ...]:
        """Every whole number of a field, packed or not."""
        found: list[int] = []
        for value in self._fields.get(field, ()):
            if isinstance(value, int):
                found.append(self._signed(value))
                continue
            at = 0
            while at < len(value):
                number, at = varint(value, at)
                found.append(self._signed(number))
        return tuple(found)

    def floats(self, field: int) -> tuple[float, ...]:
        """Every number of 4 bytes of a field, packed or not."""
        raw = b"".join(self._bytes(value) for value in self._fields.get(field, ()))
        if len(raw) % 4:
            raise_damaged("a list of numbers does not end with one", bytes=len(raw))
        return struct.unpack(f"<{len(raw) // 4}f", raw)

    def size(self, field: int) -> int:
        """The bytes of all that a field holds."""
        values = self._fields.get(field, ())
        return sum(len(value) for value in values if not isinstance(value, int))

    def bytes(self, field: int) -> bytes:
        """The bytes of a field; empty if it is absent."""
        values = self._fields.get(field)
        return bytes(self._bytes(values[-1])) if values else b""

    def __contains__(self, field: int) -> bool:
        """Whether a field is there."""
        return field in self._fields

    @staticmethod
    def _bytes(value: int | memoryview) -> memoryview:
        if isinstance(value, int):
            raise_damaged("a number stands where a text or a message belongs", got=value)
        return value

    @staticmethod
    def _signed(value: int | memoryview) -> int:
        if not isinstance(value, int):
            raise_damaged("a text or a message stands where a number belongs", bytes=len(value))
        return value - (1 << 64) if value >> 63 else value


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise_damaged("it ends within a number", at=at)
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
    raise_damaged("a number is longer than any", at=at)
