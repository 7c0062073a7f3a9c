"""Pictures read by hand, so that what writes them has an oracle."""

import struct
import zlib


def lines_of(content):
    """Width, height, bits and kind of colour of a PNG, and the bytes of its lines, filters first.

    Section 11.2 of the standard: an IHDR chunk comes first, and all IDAT chunks hold one stream.
    """
    head = struct.unpack(">IIBB", content[16:26])
    at, body = 8, b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            body += content[at + 8 : at + 8 + length]
        at += 12 + length
    return *head, zlib.decompress(body)
