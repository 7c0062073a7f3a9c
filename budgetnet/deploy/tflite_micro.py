"""What the real interpreter of TensorFlow Lite Micro allocates; needs `tflite-micro`."""

from __future__ import annotations

import os
import re
import tempfile

from tflite_micro.python.tflite_micro import runtime

LARGEST = 1 << 26  # bytes of an arena that are tried


def allocated(content: bytes) -> tuple[int, int] | None:
    """Bytes of the arena's head, the activations, and of its tail; `None` if it does not run."""
    try:
        interpreter = runtime.Interpreter.from_bytes(content, arena_size=LARGEST)
    except Exception:  # it raises kinds of its own for kernels that it lacks
        return None
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)  # it prints from C++
        try:
            interpreter.print_allocations()
        finally:
            os.dup2(before, 2)
            os.close(before)
        file.seek(0)
        said = file.read().decode()
    head, tail = (re.search(rf"{part} (\d+) bytes", said) for part in ("head", "tail"))
    return (int(head[1]), int(tail[1])) if head and tail else None
