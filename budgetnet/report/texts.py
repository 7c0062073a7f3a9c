"""Words that fit: how wide they are in the widest of usual fonts, cut and shortened to a room."""

from __future__ import annotations

# Of DejaVu Sans, which is wider than Arial, Roboto, Segoe UI and San Francisco; in em.
_WIDTHS = {
    0.30: "'ijlIJ", 0.36: ",. ·/:;\\|-f", 0.42: "!()[]tr", 0.5: '"*_`–sz', 0.58: "?ckLF",
    0.64: "vxyPaoTYebdghnpquES0123456789${}", 0.7: "KAVBRXZC", 0.8: "UHNDG&OQw",
    0.86: "#+<=>^~×M", 0.97: "%m",
}  # fmt: skip
_WIDTH_OF = {ord(char): width for width, chars in _WIDTHS.items() for char in chars}
BOLD = 1.13  # by which bold letters are wider


def width(words: str, size: float) -> float:
    """How wide a text is at most, in the unit of its size; wide signs of other scripts as well."""
    return size * sum(_WIDTH_OF.get(ord(char), 1.1) for char in words)


def cut(words: str, room: float, size: float) -> str:
    """A text with as much of its middle left out as needed.

    >>> cut("encoder.layers.encoder_layer_11.mlp", 150, 13)
    'encoder.l…er_11.mlp'
    """
    if width(words, size) <= room:
        return words
    keep = len(words) - 1
    while keep > 2 and width(_without_middle(words, keep), size) > room:
        keep -= 1
    return _without_middle(words, keep)


def _without_middle(words: str, keep: int) -> str:
    return f"{words[: keep // 2]}…{words[len(words) - (keep - keep // 2) :]}"


def local(path: str, room: float, size: float) -> str:
    """A path without as many of its first parts as needed, and cut if its last is still long.

    >>> local("features.denseblock1.denselayer6.conv1", 170, 13)
    '…denselayer6.conv1'
    """
    parts = path.split(".")
    for start in range(len(parts)):
        words = "…" * bool(start) + ".".join(parts[start:])
        if width(words, size) <= room:
            return words
    return cut(f"…{parts[-1]}" if len(parts) > 1 else path, room, size)


def short(number: int) -> str:
    """A count in at most seven signs: exact below a million, else with three digits.

    >>> short(147_456), short(25_557_032), short(4_089_184_256)
    ('147,456', '25.6 M', '4.09 G')
    """
    for unit, size in (("P", 10**15), ("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if number >= size:
            value = number / size
            digits = 2 - (value >= 9.995) - (value >= 99.95)
            return f"{value:.{digits}f} {unit}"
    return f"{number:,}"
