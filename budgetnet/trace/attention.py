"""Attention of activations to constants without values, which torch refuses by their devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from .tensors import map_tensors

REFUSED = "Expected query, key, and value to have the same device type"  # as torch says it
KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


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
            return self._attend(types, *args, **kwargs)
        return func(*args, **kwargs)

    def _attend(
        self,
        types: Any,
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        parts = (query, key, value)
        rest = (attn_mask, dropout_p, is_causal)
        options: dict[str, Any] = {"scale": scale, "enable_gqa": enable_gqa}
        if not any(part.is_meta for part in parts):
            return scaled_dot_product_attention(*parts, *rest, **options)
        if is_fused((*parts, *rest), options):
            options = {"attn_mask": attn_mask, "scale": scale}
            with _disable_current_modes():  # as where torch itself asks for an answer
                return self.answer(KERNEL, types, (*parts, dropout_p, is_causal), options)[0]
        return torch._scaled_dot_product_attention_math(*parts, *rest, **options)[0]


def is_fused(args: Any, options: Any) -> bool:
    """Whether torch takes its fused kernel, for the layouts on the CPU."""

    def plain(x: Tensor) -> Tensor:
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype)

    with _disable_current_modes():
        return torch._fused_sdp_choice(*map_tensors(plain, args), **options) != 0
