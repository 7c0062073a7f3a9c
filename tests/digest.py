"""A digest of a model and of the process around it: all that `account` promises to leave alone."""

import random
import types
import weakref
import zlib
from collections import deque
from functools import partial

import numpy as np
import torch
from torch import nn

FEW = 1 << 14  # elements; of larger tensors the version counter has to do, unless `whole`
CLASSES = (
    nn.Module, nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.MultiheadAttention,
    nn.TransformerEncoderLayer, nn.TransformerEncoder, nn.Parameter, torch.Tensor,
)  # fmt: skip


class Digest:
    """What is reachable from a model, by path; it keeps all alive, so that ids stay telling."""

    def __init__(self, model, whole=True):
        self.entries, self._met, self._held, self._whole = {}, {}, [], whole
        self._process()
        self._look("", model)

    def changes(self, other):
        """The paths at which two digests differ."""
        keys = {**self.entries, **other.entries}
        return [key for key in keys if self.entries.get(key) != other.entries.get(key)]

    def _process(self):
        found = {
            "torch rng": zlib.crc32(torch.get_rng_state().numpy()),
            "torch seed": torch.initial_seed(),
            "python rng": hash(random.getstate()),
            "numpy rng": str(np.random.get_state(legacy=False)),
            "default dtype": torch.get_default_dtype(),
            "default device": torch.get_default_device(),
            "grad": torch.is_grad_enabled(),
            "inference": torch.is_inference_mode_enabled(),
            "autocast": [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")],
            "autocast type": [torch.get_autocast_dtype(kind) for kind in ("cpu", "cuda")],
            "autocast cache": torch.is_autocast_cache_enabled(),
            "anomaly": torch.is_anomaly_enabled(),
            "precision": torch.get_float32_matmul_precision(),
            "deterministic": torch.get_deterministic_debug_mode(),
            "fills": torch.utils.deterministic.fill_uninitialized_memory,
            "threads": torch.get_num_threads(),
            "fast path": torch.backends.mha.get_fastpath_enabled(),
            "cudnn": [torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark,
                      torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32],
            "mkldnn": torch.backends.mkldnn.enabled,
            "sdp": [torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled(),
                    torch.backends.cuda.mem_efficient_sdp_enabled()],
            "modes": torch._C._len_torch_dispatch_stack(),
            "function modes": torch._C._len_torch_function_stack(),
        }  # fmt: skip
        self.entries.update(found)
        for cls in CLASSES:
            for name, value in vars(cls).items():
                self.entries[f"{cls.__name__}.{name}"] = self._id(value)
        for name, value in vars(torch.nn.modules.module).items():
            if name.startswith("_global"):
                self.entries[name] = (self._id(value), *map(self._id, (value or {})))

    def _id(self, value):
        self._held.append(value)
        return id(value)

    def _look(self, path, value):
        kind = type(value)
        if kind in (int, float, bool, str, bytes, complex, type(None)):
            self.entries[path] = value
            return
        self.entries[path] = (kind, self._id(value))
        if id(value) in self._met:
            return
        self._met[id(value)] = path
        for name, inner in self._parts(path, value):
            self._look(f"{path}.{name}", inner)

    def _parts(self, path, value):
        if isinstance(value, torch.Tensor):
            self.entries[f"{path} tensor"] = self._tensor(value)
            yield "grad", value.grad if value.is_leaf else None
            yield from vars(value).items()
        elif isinstance(value, dict):
            self.entries[f"{path} keys"] = [str(key) for key in value]
            yield from value.items()
        elif isinstance(value, list | tuple | deque):
            yield from enumerate(value)
        elif isinstance(value, set | frozenset):
            yield from ((f"{{{hash(inner)}}}", inner) for inner in value)
        elif isinstance(value, partial):
            yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
        elif isinstance(value, types.MethodType):
            yield from (("self", value.__self__), ("func", value.__func__))
        elif isinstance(value, types.FunctionType):
            cells = [cell for cell in value.__closure__ or () if _is_full(cell)]
            yield from ((i, cell.cell_contents) for i, cell in enumerate(cells))
            yield "defaults", value.__defaults__
        elif isinstance(value, weakref.ref):
            yield "target", value()
        elif not isinstance(value, type | types.ModuleType):
            yield "__dict__", getattr(value, "__dict__", None)
            for name in getattr(type(value), "__slots__", ()):
                yield name, getattr(value, name, None)

    def _tensor(self, value):
        if isinstance(value, nn.parameter.UninitializedTensorMixin) or value.is_sparse:
            return value.requires_grad
        flags = (value.shape, value.dtype, value.device, value.requires_grad, value.is_inference())
        version = None if value.is_inference() else value._version
        memory = (value.stride(), value.storage_offset(), value.untyped_storage()._cdata)
        content = None
        if not value.is_meta and (self._whole or value.numel() <= FEW):
            flat = value.detach().cpu().contiguous().flatten()
            content = zlib.crc32(flat.view(torch.uint8).numpy()) if flat.numel() else 0
        return (*flags, version, memory, content)


def _is_full(cell):
    try:
        cell.cell_contents  # noqa: B018  # it may be empty
    except ValueError:
        return False
    return True
