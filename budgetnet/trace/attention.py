"""Attention of activations to constants without values, which torch refuses by their devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from .tensors import map_tensors

REFUSED = "Expected query, key, and value to have the same device type"  # as torch says it
KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


class Attention(NamedTuple):
    """The arguments of `scaled_dot_product_attention`, under its names for them."""

    query: Any
    key: Any
    value: Any
    attn_mask: Any = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    @property
    def parts(self) -> tuple[Any, Any, Any]:
        """Query, key and value."""
        return self.query, self.key, self.value

    @property
    def args(self) -> tuple[Any, ...]:
        """What torch takes by position."""
        return (*self.parts, self.attn_mask, self.dropout_p, self.is_causal)

    @property
    def options(self) -> dict[str, Any]:
        """What it takes by name."""
        return {"scale": self.scale, "enable_gqa": self.enable_gqa}

    @property
    def is_fused(self) -> bool:
        """Whether torch takes its fused kernel, for the layouts on the CPU."""

        def plain(x: Tensor) -> Tensor:
            return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype)

        with _disable_current_modes():
            return torch._fused_sdp_choice(*map_tensors(plain, self.args), **self.options) != 0

    def in_steps(self) -> Any:
        """The result by torch's products and softmax, without a fused kernel."""
        return torch._scaled_dot_product_attention_math(*self.args, **self.options)[0]


class MixedDevices(Exception):
    """An attention takes activations and constants on the meta device."""


class MixedAttention(TorchFunctionMode):
    """Hands such an attention to `answer` before torch compares devices."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        """`answer` is a tracer's `__torch_dispatch__`."""
        super().__init__()
        self.answer = answer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take such an operation; let all else run."""
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            return self._attend(types, Attention(*args, **kwargs))
        return func(*args, **kwargs)

    def _attend(self, types: Any, given: Attention) -> Any:
        if not any(part.is_meta for part in given.parts):
            return scaled_dot_product_attention(*given.args, **given.options)
        if given.is_fused:
            parts = (*given.parts, given.dropout_p, given.is_causal)
            options = {"attn_mask": given.attn_mask, "scale": given.scale}
            with _disable_current_modes():  # as where torch itself asks for an answer
                return self.answer(KERNEL, types, parts, options)[0]
        return given.in_steps()
