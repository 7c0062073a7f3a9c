"""Damage to files, drawn at random from a seed: bytes, parts of JSON, values of TOML, words."""

import copy
import json
import random
import signal
import struct
import threading
from contextlib import contextmanager

# Texts of JSON values, by type and size; some are no JSON at all.
JSON_VALUES = [
    "null", "true", "false", "0", "1", "-1", "2", "7", "10000", "2147483648", "9223372036854775808",
    "1" + "0" * 30, "1" + "0" * 4000, "9" * 5000, "-" + "9" * 5000, "0.5", "1.0", "-0.0", "1e308",
    "1e999", "NaN", "-Infinity", '""', '"x"', '"20k"', '"1,5k"', '"\\u00e9\\ud83d\\ude42"',
    '"\\ud800"', '"a\\nb"', '"\\u001b[31m"', '"\\u0000"', '"' + "9" * 5000 + '"',
    '"' + "x" * 100_000 + '"', "[]", "[[]]", "[0]", "[1,2,3]", '["a"]', "[null]",
    "[[[0,10000000]]]",
    "[[[0,1000000000000]]]", "[[[5,1]]]", "[[0,1],[2]]", "{}", '{"a":1}', '{"":{}}',
    "[" * 300 + "]" * 300, "[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000, "01", "tru",
    "", "1,2", '{"a":1,"a":2}',
]  # fmt: skip

# The same of TOML.
TOML_VALUES = [
    "true", "false", "0", "-1", "1", "3", "20_000", "9223372036854775808", "9" * 30, "9" * 5000,
    "1.5", "2e6", "nan", "inf", "-inf", "1e400", "0x10", '""', '"x"', '"20k"', '"1,5k"', '"1,,,5"',
    '"1_000"', '"1e3"', '"3..4"', '"4..3"', '".."', '"-5"', '"60 KiB"', '"+2%"', '"+1,5%"',
    '"' + "9" * 5000 + '"', '"' + "x" * 100_000 + '"', '"\\u0000"', '"\\u001b[31m"', '"a\\nb"',
    '"é🙂"', '"""a\nb"""', "'\\'", '"Conv2d"', '"[*"', '"s6"', '"nets.py:small"', '"nets.py:"',
    '":"', '"a:b:c"', '".."', '"/"', '"no.json"', '"saved.json"', '"c4 gap2"', '"c4k99999 gap2"',
    '"' + "c4same " * 40 + 'gap2"', '"c' + "9" * 5000 + '"', "[]", "[1]", "[1, 2]", "[2, 1]",
    "[1, 2, 3]", '["a"]', '["Conv2d", 3]', '["1k", "2k"]', "[[1]]", "[[[]]]", "[[1, 9, 9]]",
    "[1, 9, 9]", "[1, -9, 9]", "[true, 9, 9]", "[[1, 9, 9], [1, 9, 9]]", '"1x9x9"', '"1x0x9"',
    '"1x-9x9"', '"1x9x9+1x9x9"', '"1x99999999999x9"', '"' + "9" * 5000 + 'x9x9"', "[9e9, 9, 9]",
    "{}", "{ a = 1 }", '{ params = "+2%" }', "{ params = 1 }", "{ params = {} }", "{ macs = [] }",
    "{ width = 3 }", "{ width = -3 }", '{ "é" = 1 }', "[{}]", "[{ a = 1 }]", "1979-05-27",
    "07:32:00", "1979-05-27T07:32:00Z", "1979-99-27", "[" * 200 + "]" * 200,
    "[" * 5000 + "]" * 5000, "{ a = " * 300 + "1" + " }" * 300, "", "1 2", "]",
]  # fmt: skip

WORDS = [
    "c16", "c4", "c", "p", "p3", "gap", "gap10", "ds8", "t4", "c0", "c-1", "ck3", "c8k", "c8k0",
    "c8k99999", "c8k3d99999", "c8s9", "c8p99999", "c8same", "c8k2same", "c8g2", "c8g3", "c8g0",
    "c8-bn", "c8+bias", "c8-bias-act", "c8k3x5s1x2", "c" + "9" * 9, "c" + "9" * 5000, "p" + "9" * 9,
    "c8k999999999p499999999", "c8k9d999999999p999999999", "c8s99999p99999", "gap999999999",
    "\ud800",
    "é", "\0", "c８", "c1_6", "C16", "c16,", "c16 " * 500, "x" * 10_000, "\u2028", "gap gap", "-bn",
]  # fmt: skip


GOOD_WORDS = [
    "c16", "c4", "p", "p3", "ds8", "t4", "c8same", "c8k5s2p2", "c8k3x5s1x2", "gap10", "c8-bn+bias",
    "c8k999p500", "c8k3d999p999", "c8s99999p99999", "c8k99999p49999", "c8k9999d99p499999", "pk2s1",
]  # fmt: skip


def damaged_bytes(data, random):
    """Some bytes changed, cut out, put in, repeated, or the end cut off."""
    data = bytearray(data)
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice([0, 1, 1, 2, 8, 64]))
        what = random.randrange(5)
        if what == 0:
            data[start:end] = random.randbytes(end - start)
        elif what == 1:
            del data[start:end]
        elif what == 2:
            data[start:start] = random.choice([b"\0", b"\xff", b"9", b'"', b"{", b"]", b"-", b"\n"])
        elif what == 3:
            data[start:start] = data[start:end]
        elif random.random() < 0.3:
            del data[start:]
        else:
            data[start:end] = b"9" * (end - start)
    return bytes(data)


def places(data, path=()):
    """The path of every value of nested data."""
    yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from places(value, (*path, key))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from places(value, (*path, i))


MARK = "\ue000 here \ue000"


def damaged_json(data, random):
    """One or two values replaced, removed, renamed or exchanged, as text; nothing else changes."""
    data = copy.deepcopy(data)
    texts = []
    for _ in range(random.choice([1, 1, 1, 2])):
        path = random.choice([path for path in places(data) if path] or [()])
        if not path:
            break
        holder = data
        for part in path[:-1]:
            holder = holder[part]
        key, what = path[-1], random.randrange(8)
        if what < 5:
            holder[key] = MARK
            texts.append(random.choice(JSON_VALUES))
        elif what == 5:
            del holder[key]
        elif what == 6 and isinstance(holder[key], int) and not isinstance(holder[key], bool):
            holder[key] += random.choice([-1, 1, 100, -holder[key], holder[key]])
        elif isinstance(holder, dict):
            holder[key + "x"] = holder.pop(key)
        else:
            holder.append(copy.deepcopy(holder[key]))
    text = json.dumps(data)
    for value in texts:
        text = text.replace(json.dumps(MARK), value, 1)
    return text


def draws(seed, count):
    """So many generators, each of which can be had again by its name."""
    for i in range(count):
        yield random.Random(f"{seed} {i}")


class TooLong(BaseException):
    """What was tried has not ended in time."""


@contextmanager
def in_time(seconds):
    """Raise `TooLong` in the block after so long, where the system can."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise TooLong(f"no answer after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


EXTREMES = (0, 1, 4, 2**31 - 1, 2**31, 2**32 - 1)  # of 32 bits


def damaged_file(content, random, step=1):
    """A file cut off, or with bytes changed, or with extreme numbers at multiples of a `step`."""
    how = random.randrange(4)
    if how == 0:
        return content[: random.randrange(len(content))]
    if how == 1:
        return damaged_bytes(content, random)
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 4])):
        at = random.randrange(len(data) - 4)
        if how == 2:
            data[at] = random.randrange(256)
        else:
            struct.pack_into("<I", data, at - at % step, random.choice([*EXTREMES, len(data)]))
    return bytes(data)
