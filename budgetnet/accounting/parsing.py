"""Plain data out of files, taken field by field: each checked by its type and its range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import shown

T = TypeVar("T")
MOST = 10**60  # beyond every product of sizes that can be written


class Damaged(ValueError):
    """A field is missing or not valid; the text names it."""


class Fields:
    """A mapping from a file, whose fields are taken by name.

    >>> Fields({"params": 3}, "rows[0]").count("params")
    3
    """

    def __init__(self, data: Any, where: str = "") -> None:
        """Take a mapping that lies at `where`."""
        self.where = where
        if not isinstance(data, dict):
            raise self.wrong("", data, "not a mapping of names to values")
        self.data = data

    def __contains__(self, key: str) -> bool:
        """Whether there is such a field."""
        return key in self.data

    def get(self, key: str) -> Any:
        """The field, of any type; it must exist."""
        if key not in self.data:
            raise Damaged(f"{self._place(key)} is missing")
        return self.data[key]

    def wrong(self, key: str, value: object, what: str) -> Damaged:
        """The error of a field."""
        return Damaged(f"{self._place(key)} is {what}: {shown(value)}")

    def _place(self, key: str) -> str:
        return ".".join(filter(None, (self.where, key))) or "the content"

    def text(self, key: str, *, empty: bool = False) -> str:
        """A text, which may be empty if `empty` is set."""
        value = self.get(key)
        if not isinstance(value, str) or not (value or empty) or not _is_encodable(value):
            raise self.wrong(key, value, "not text")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "neither true nor false")
        return value

    def count(self, key: str, least: int = 0, most: int = MOST) -> int:
        """A whole number from `least` on."""
        value = self.get(key)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, value, f"not a whole number of at least {least}")
        return value

    def number(self, key: str, least: float = float("-inf")) -> float:
        """A number that is finite."""
        value = self.get(key)
        if type(value) not in (int, float) or not least <= value <= 1e308 or value < -1e308:
            raise self.wrong(key, value, "not a number in the allowed range")
        return value  # type: ignore[no-any-return]  # just checked

    def counts(self, key: str, least: int = 0, most: int = MOST) -> tuple[int, ...]:
        """Whole numbers from `least` to `most`."""
        value = self.get(key)
        if not isinstance(value, list | tuple) or not all(
            type(n) is int and least <= n <= most for n in value
        ):
            raise self.wrong(key, value, "not a list of whole numbers in the allowed range")
        return tuple(value)

    def items(self, key: str) -> list[Any]:
        """A list of values of any type."""
        value = self.get(key)
        if not isinstance(value, list | tuple):
            raise self.wrong(key, value, "not a list")
        return list(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Texts, none of them empty."""
        value = self.items(key)
        if not all(isinstance(text, str) and text and _is_encodable(text) for text in value):
            raise self.wrong(key, value, "not a list of non-empty texts")
        return tuple(value)

    def fields(self, key: str) -> Fields:
        """A mapping within."""
        return Fields(self.get(key), self._place(key))

    def optional(self, key: str, take: Callable[[str], T]) -> T | None:
        """What `take` makes of the field; `None` if it is null."""
        return None if self.get(key) is None else take(key)

    def same(self, expected: Mapping[str, Any]) -> None:
        """Check fields against the values that others imply; lists and tuples count as equal."""
        for key, value in expected.items():
            found = self.get(key)
            if repr(as_lists(found)) != repr(as_lists(value)):  # 1, 1.0 and true are not alike
                what = f"not what the rest of the file gives, {shown(value)}"
                raise self.wrong(key, found, what)


def as_lists(value: Any) -> Any:
    """Nested tuples as nested lists."""
    return list(map(as_lists, value)) if isinstance(value, list | tuple) else value


def _is_encodable(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which no file and no terminal takes."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)
