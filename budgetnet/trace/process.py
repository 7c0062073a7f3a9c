"""What a run must not change in its process, and how that is restored."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import string_at
from typing import Any

import torch

_MT19937_BYTES = 4 * 625  # 624 words, and the place of the next one
# Settings that a forward can change for everybody: how each is read, and set.
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
    (torch._C._get_cudnn_benchmark, torch._C._set_cudnn_benchmark),
    (torch._C._get_cudnn_deterministic, torch._C._set_cudnn_deterministic),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
    (lambda: torch.is_autocast_enabled("cuda"), lambda on: torch.set_autocast_enabled("cuda", on)),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (lambda: torch.get_autocast_dtype("cpu"), lambda kind: torch.set_autocast_dtype("cpu", kind)),
    (lambda: torch.get_autocast_dtype("cuda"), lambda kind: torch.set_autocast_dtype("cuda", kind)),
    (torch.is_anomaly_enabled, lambda on: torch.set_anomaly_enabled(on, _checks_nan())),
    (torch._C._get_cudnn_allow_tf32, torch._C._set_cudnn_allow_tf32),
    (torch._C._get_flash_sdp_enabled, torch._C._set_sdp_use_flash),
    (torch._C._get_mem_efficient_sdp_enabled, torch._C._set_sdp_use_mem_efficient),
    (torch._C._get_math_sdp_enabled, torch._C._set_sdp_use_math),
    (lambda: _device(), torch.set_default_device),
)


def _checks_nan() -> bool:
    return torch.is_anomaly_check_nan_enabled()


def _device() -> torch.device | None:
    """What `set_default_device` has set; not a `with` block around."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


@contextmanager
def restoring_process() -> Iterator[None]:
    """Put back settings and random states that a run has changed.

    Random operations on tensors draw from a generator of the run's own, so torch's state changes
    only if `forward` seeds it. Python's and NumPy's, and torch's where its seed is the same as
    before, cannot be distinguished by thread: they are put back if no other thread runs.
    """
    settings = [read() for read, _ in _SETTINGS]
    alone = threading.active_count() == 1
    seed, state = torch.initial_seed(), torch.get_rng_state()
    plain = random.getstate() if alone else None
    numpy = sys.modules.get("numpy.random") if alone else None
    drawn = _read_numpy(numpy) if numpy else None
    try:
        yield
    finally:
        for before, (read, put) in zip(settings, _SETTINGS, strict=True):
            if read() != before:
                put(before)
        if seed != torch.initial_seed() or (
            alone and not torch.equal(state, torch.get_rng_state())
        ):
            torch.set_rng_state(state)
        if plain is not None and random.getstate() != plain:
            random.setstate(plain)
        if torch._C._is_any_autocast_enabled():
            torch.clear_autocast_cache()  # it holds what the run has cast
        if numpy and not _alike(drawn, _read_numpy(numpy)):
            numpy.set_state(drawn)


_numpy: tuple[bytes, Any] | None = None  # the memory of NumPy's generator, and its state then


def _read_numpy(numpy: Any) -> Any:
    """NumPy's random state; it takes long to make, so it is kept while its memory is as it was.

    That memory does not show whether half of a pair of normal numbers is still to be returned.
    If it was, the state is made anew.
    """
    global _numpy
    generator = numpy.get_bit_generator()
    if not isinstance(generator, numpy.MT19937):
        return numpy.get_state(legacy=False)
    memory = string_at(generator.ctypes.state_address, _MT19937_BYTES)
    if _numpy is None or _numpy[0] != memory or _numpy[1]["has_gauss"]:
        _numpy = memory, numpy.get_state(legacy=False)
    return _numpy[1]


def _alike(one: Any, two: Any) -> bool:
    """Whether two of NumPy's states are the same."""
    if one is two:
        return True
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_alike(one[key], two[key]) for key in one)
    same = one == two
    return bool(same if isinstance(same, bool) else same.all())
