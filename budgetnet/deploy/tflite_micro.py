"""What the real interpreter of TensorFlow Lite Micro allocates; needs `tflite-micro`."""

from __future__ import annotations

import re
import tempfile

from .descriptors import stderr_into

LARGEST = 1 << 26  # bytes of an arena that are tried


def allocated(content: bytes) -> tuple[int, int] | None:
    """Bytes of the arena's head, the activations, and of its tail; `None` if it does not run.

    Raises ImportError where the interpreter is not installed.
    """
    from tflite_micro.python.tflite_micro import runtime  # on use: it is an extra

    try:
        interpreter = runtime.Interpreter.from_bytes(content, arena_size=LARGEST)
    except Exception:  # it raises kinds of its own for kernels that it lacks
        return None
    with tempfile.TemporaryFile() as file:
        with stderr_into(file.fileno()):  # it prints from C++
            interpreter.print_allocations()
        file.seek(0)
        said = file.read().decode()
    head, tail = (re.search(rf"{part} (\d+) bytes", said) for part in ("head", "tail"))
    return (int(head[1]), int(tail[1])) if head and tail else None
