"""What an account is held against in a sweep; nothing here shares code with budgetnet.

- `measured`: parameters, buffers, multiply-accumulates and output shapes of a real forward, counted
  by the formulas of `torch.utils.flop_counter`.
- `State`: everything that a call could leave changed, in the model and in the process.
- `reached`: the input positions that have a gradient to the unit in the middle of a map.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

HASHED_BYTES = 400 * 2**20  # values of larger models are told by their version counters alone
DEEPEST = 6  # how far below a module's attribute containers and objects are followed

Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # what a forward is called with


class Measured(NamedTuple):
    """What a real forward of a model shows."""

    params: int
    trainable_params: int
    buffers: int
    weight_bytes: int
    macs: int
    constant_macs: int
    """Those of them whose factors do not depend on the input, or are not read from it."""
    output_shapes: tuple[tuple[int, ...], ...]
    uncounted: tuple[str, ...]
    """Products that torch's flop counter has no formula for."""


def measured(model: nn.Module, inputs: Inputs) -> Measured:
    """Run a model at inference, on whichever device it is, and count."""
    params = distinct(model.parameters())
    buffers = distinct(model.buffers())  # a forward may make them anew, and of another size
    held = {
        "params": sum(p.numel() for p in params),
        "trainable_params": sum(p.numel() for p in params if p.requires_grad),
        "buffers": sum(b.numel() for b in buffers),
        "weight_bytes": sum(t.numel() * t.element_size() for t in params + buffers),
    }
    counter = _Counter([*tensors(inputs)])
    with at_inference(), counter:
        outputs = model(*inputs[0], **inputs[1])
    return Measured(
        **held,
        macs=counter.flops // 2,
        constant_macs=counter.constant_flops // 2,
        output_shapes=tuple(tuple(out.shape[1:]) for out in tensors(outputs)),
        uncounted=tuple(sorted(counter.uncounted)),
    )


def macs_by_module(model: nn.Module, inputs: Inputs) -> dict[str, tuple[int, int]]:
    """Multiply-accumulates of every module with those below it, and how many are of constants."""
    counter = _Counter([*tensors(inputs)])
    found: dict[str, tuple[int, int]] = {}
    started: list[tuple[int, int]] = []

    def before(*_: Any) -> None:
        started.append((counter.flops, counter.constant_flops))

    def after(path: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            (flops, constant), (all_before, constant_before) = (
                found.get(path, (0, 0)),
                started.pop(),
            )
            found[path] = (
                flops + (counter.flops - all_before) // 2,
                constant + (counter.constant_flops - constant_before) // 2,
            )

        return hook

    with ExitStack() as stack:
        for path, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after(path)).remove)
        with at_inference(), counter:
            model(*inputs[0], **inputs[1])
    return found


@contextmanager
def at_inference() -> Iterator[None]:
    """No gradients, and every fused kernel as the products that it is made of."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        yield


_UNCOUNTED = (
    "mv", "addmv", "dot", "vdot", "addr", "addbmm", "lstm", "gru", "rnn", "mkldnn_rnn_layer",
    "_scaled_dot_product_flash_attention_for_cpu", "_grouped_mm", "deform_conv2d", "_cdist_forward",
    "_int_mm", "linear", "matmul", "_convolution_mode", "_fft_c2c", "_fft_r2c", "_fft_c2r",
)  # fmt: skip


class _Counter(TorchDispatchMode):
    """Counts as torch's `FlopCounterMode` does, and tells apart what no input reaches."""

    def __init__(self, inputs: list[Tensor]) -> None:
        super().__init__()
        self.flops = self.constant_flops = 0
        self.uncounted: set[str] = set()
        self._reached: set[int] = set()
        self._kept: list[Any] = []  # an address must not be given away again while it counts
        for x in inputs:
            self._reach(x)

    def _reach(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        self._reached.add(storage._cdata)
        self._kept.append(storage)

    def _is_reached(self, x: Tensor) -> bool:
        return x.untyped_storage()._cdata in self._reached

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        reached = any(map(self._is_reached, tensors((args, kwargs)))) and not _is_of_shape(func)
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=out)
            self.flops += flops
            self.constant_flops += 0 if reached else flops
        elif packet.__name__ in _UNCOUNTED:
            self.uncounted.add(packet.__name__)
        if reached:
            for result in tensors(out):
                self._reach(result)
        return out


def _is_of_shape(func: Any) -> bool:
    """Whether an operation takes a tensor for its shape and type alone."""
    name = func._overloadpacket.__name__
    return name.startswith("new_") or name.endswith("_like")


def tensors(values: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers, model outputs of transformers included."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors(value)


def distinct(found: Any) -> list[Tensor]:
    return [*{id(x): x for x in found}.values()]


# ---- what a call leaves behind


class State:
    """A model and its process at one moment, to be compared with a later one."""

    def __init__(self, model: nn.Module) -> None:
        self.facts: dict[str, Any] = {}
        self._kept: list[Any] = []  # so that no address is given away again
        self._seen: set[int] = set()
        for path, module in model.named_modules(remove_duplicate=False):
            self._note(path or "model", module.__dict__, 0)
        self.facts |= _process()
        self._hash(model)

    def changes(self, later: State) -> list[str]:
        """Where a later state differs."""
        both = [*dict.fromkeys([*self.facts, *later.facts])]
        absent = object()
        return [
            fact for fact in both if self.facts.get(fact, absent) != later.facts.get(fact, absent)
        ]

    def _hash(self, model: nn.Module) -> None:
        held = [x for x in distinct([*model.parameters(), *model.buffers()]) if not x.is_meta]
        if sum(x.numel() * x.element_size() for x in held) > HASHED_BYTES:
            return
        for i, x in enumerate(held):
            self.facts[f"value of tensor {i}"] = content(x)

    def _note(self, path: str, value: Any, depth: int) -> None:
        """Write down what `value` is, and what it holds."""
        if value is None or isinstance(value, bool | int | float | str | bytes | complex):
            self.facts[path] = (type(value), repr(value))
            return
        self._kept.append(value)
        self.facts[path] = _identity(value)
        if isinstance(value, Tensor):
            self.facts[f"{path}.grad"] = id(value.grad) if value.is_leaf else None
            return
        if id(value) in self._seen or depth > DEEPEST or isinstance(value, nn.Module):
            return
        self._seen.add(id(value))
        if isinstance(value, dict):
            self.facts[f"{path} keys"] = [repr(key) for key in value]
            for key, item in [*value.items()]:
                self._note(f"{path}.{key}", item, depth + 1)
        elif isinstance(value, list | tuple):
            self.facts[f"{path} length"] = len(value)
            for i, item in enumerate(value):
                self._note(f"{path}.{i}", item, depth + 1)
        elif isinstance(value, set | frozenset):
            self.facts[f"{path} items"] = sorted(map(repr, value))
        elif not isinstance(value, type) and type(value).__module__ != "builtins":
            self._note(f"{path}.__dict__", getattr(value, "__dict__", None), depth + 1)


def _identity(value: Any) -> Any:
    if not isinstance(value, Tensor):
        # `__dict__` of an object may be made anew at every look.
        return type(value) if isinstance(value, dict | tuple) else (type(value), id(value))
    version = None if value.is_inference() else value._version
    layout = (tuple(value.shape), value.stride()) if value.layout is torch.strided else None
    return (id(value), type(value), version, layout, value.dtype, value.device, value.requires_grad)


def _process() -> dict[str, Any]:
    """What belongs to no model."""
    hooks = nn.modules.module
    state = np.random.get_state()
    return {
        "torch random state": content(torch.get_rng_state()),
        "random state": hash(random.getstate()),
        "numpy random state": (hashlib.sha256(state[1].tobytes()).hexdigest(), *state[2:]),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "function modes": torch._C._len_torch_function_stack(),
        "attention fast path": torch.backends.mha.get_fastpath_enabled(),
        "threads": torch.get_num_threads(),
        "nn.Module": {key: id(value) for key, value in vars(nn.Module).items()},
        "global hooks": [
            len(getattr(hooks, name)) for name in dir(hooks) if name.startswith("_global_")
            and hasattr(getattr(hooks, name), "__len__")
        ],
    }  # fmt: skip


def content(x: Tensor) -> str:
    """A hash of a tensor's bytes, so that NaN equals itself."""
    flat = x.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha1(flat.view(torch.uint8).numpy(), usedforsecurity=False).hexdigest()


def outputs_of(model: nn.Module, inputs: Inputs) -> list[str]:
    """The outputs of a real forward at inference, each as a hash."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    with torch.no_grad():
        return [content(out) for out in tensors(model(*inputs[0], **inputs[1]))]


# ---- receptive fields


def reached(
    model: nn.Module, shape: tuple[int, ...], paths: list[str], trials: int = 2
) -> dict[str, tuple[tuple[int, ...], np.ndarray[Any, Any]]]:
    """Per module, the shape of its map, and which input positions have a gradient to its centre.

    A position that an activation shuts off in every trial is missing, so that this lies within the
    receptive field.
    """
    found: dict[str, Any] = {}
    maps: dict[str, Tensor] = {}
    modules = dict(model.named_modules())

    def keep(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.requires_grad:
                maps[path] = out.clone()  # what follows may add to it in place

        return hook

    handles = [modules[path].register_forward_hook(keep(path)) for path in paths]
    generator = torch.Generator().manual_seed(0)
    try:
        for _ in range(trials):
            maps.clear()
            x = torch.randn(1, *shape, generator=generator).requires_grad_()
            with torch.enable_grad():
                model(x.clone())  # a first layer may work in place
            for path, out in maps.items():
                grad = _centre_gradient(out, x, generator)
                if grad is not None:
                    before = found.get(path, (None, np.zeros(shape[1:], bool)))[1]
                    found[path] = (tuple(out.shape), before | grad)
    finally:
        for handle in handles:
            handle.remove()
    return found


def open_branches(model: nn.Module) -> None:
    """Give a weight to what is initialised to zero, such as the last norm of a branch."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)


def _centre_gradient(
    out: Tensor, x: Tensor, generator: torch.Generator
) -> np.ndarray[Any, Any] | None:
    unit = out[(0, slice(None), *(n // 2 for n in out.shape[2:]))]
    weights = torch.rand(unit.shape, generator=generator) + 0.5  # else channels may cancel out
    (grad,) = torch.autograd.grad((unit * weights).sum(), x, retain_graph=True, allow_unused=True)
    return None if grad is None else ((grad[0] != 0) | grad[0].isnan()).any(0).numpy()
