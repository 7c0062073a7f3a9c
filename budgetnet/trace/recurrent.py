"""Recurrent layers as one operation each, before torch unrolls them step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

_CELLS = {
    getattr(torch._C._VariableFunctions, name): getattr(torch.ops.aten, name).default
    for name in ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
}
_LAYERS = {
    getattr(torch._C._VariableFunctions, name): getattr(torch.ops.aten, name).input
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
}
KINDS = (torch.nn.RNNBase, torch.nn.RNNCellBase)


class Recurrent(TorchFunctionMode):
    """Hands recurrent operations to `answer` while the `forward` of such a layer runs."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        """`answer` is a tracer's `__torch_dispatch__`."""
        super().__init__()
        self.answer = answer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take such an operation; let all else run."""
        kwargs = kwargs or {}
        operation = _CELLS.get(func)
        # A packed sequence comes with a tensor of batch sizes before its states.
        if operation is None and func in _LAYERS and not isinstance(args[-7], Tensor):
            operation = _LAYERS[func]
        if operation is None:
            return func(*args, **kwargs)
        with _disable_current_modes():  # as where torch itself asks for an answer
            return self.answer(operation, types, args, kwargs)
