"""Batch normalisation folded into the layer before it, for inference.

At inference a BatchNorm is a fixed scale and shift per channel, which the preceding convolution
can absorb. A run of the model on shapes alone, as for `account`, shows which convolution that is: a
norm is folded only if its input is the result of one convolution and nothing else reads that
result. Names prove nothing (torchvision's `conv1` and `bn1` are not in a `Sequential`), and
torch.fx cannot trace a `forward` that compares shapes, as `blocks.Residual` does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ..errors import ArgumentError, explain
from ..trace.account import check_module
from ..trace.modules import ModuleIndex
from ..trace.run import parse_inputs, running, suggesting_other_shapes
from ..trace.watcher import CallResult, Watcher

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS: tuple[type[nn.Module], ...] = (*_CONVS, *_TRANSPOSED, nn.Linear)
_OWN = ("forward", "_conv_forward", "_output_padding")  # what a subclass may do otherwise
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_NO_LAYER = "its input is not the result of a convolution or linear layer"


@dataclass(frozen=True, slots=True)
class Fold:
    """What happens to one BatchNorm.

    Attributes:
        norm: path of the BatchNorm, as `state_dict` spells it.
        layer: path of the layer that it is folded into; `None` if it stays.
        reason: why it stays, or "".

    >>> print(Fold("bn1", "conv1"))
    bn1 folds into conv1
    """

    norm: str
    layer: str | None
    reason: str = ""

    def __str__(self) -> str:
        """One readable line."""
        if self.layer is None:
            return f"{self.norm} stays: {self.reason}"
        return f"{self.norm} folds into {self.layer}"


def find_folds(model: nn.Module, input_shape: Any) -> tuple[Fold, ...]:
    """For every BatchNorm of a model, say whether `fold_batchnorm` folds it, and if not, why.

    Nothing is computed, and the model comes back as it was. The answer holds for the path that
    `forward` takes for this input shape at inference.

    Args:
        model: any module that `account` can run.
        input_shape: `(C, H, W)` without the batch, or an example tensor, as for `account`.

    Raises:
        ArgumentError: this is not a module.
        ShapeError: a layer does not fit the map that it receives.
        RunEnded: the control flow depends on a value of the input.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    >>> for fold in find_folds(net, (1, 8, 8)):
    ...     print(fold)
    1 folds into 0
    3 stays: its input is not the result of a convolution or linear layer
    """
    watcher = Watcher(check_module(model, "folding norms"), _LAYERS)
    given = parse_inputs(input_shape)
    with suggesting_other_shapes(model, given), running(watcher, given):
        return tuple(
            _judge(path, module, watcher)
            for path, module in watcher.module_index.modules.values()
            if isinstance(module, _BatchNorm)
        )


def fold_batchnorm(model: nn.Module, input_shape: Any, *, strict: bool = False) -> nn.Module:
    """Copy a model for inference, with BatchNorms folded into the convolutions before them.

    `w' = w * g / sqrt(v + eps)` and `b' = (b - m) * g / sqrt(v + eps) + s`, for scale `g`, shift
    `s`, running mean `m` and variance `v`, as `torch.nn.utils.fusion` computes them. An
    `nn.Identity` replaces the norm, so every other module keeps its path. A convolution to `C`
    channels without bias gains `C` parameters and loses its norm's `2 C`; MACs and receptive
    field do not change.

    Args:
        model: any module that `account` can run; it comes back as it was.
        input_shape: `(C, H, W)` without the batch, as for `account`.
        strict: raise if a BatchNorm cannot be folded; otherwise it stays (see `find_folds`).

    Returns:
        A copy in evaluation mode, which computes what `model.eval()` does, up to rounding. It is
        not for training, since its norms are gone.

    Raises:
        ArgumentError: a BatchNorm cannot be folded (`strict`), or the model cannot be copied.
        ShapeError: a layer does not fit the map that it receives.
        RunEnded: the control flow depends on a value of the input.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2017, arXiv:1712.05877, section 3.2.

    >>> from budgetnet import account, models
    >>> net = models.get_model("s6")
    >>> folded = fold_batchnorm(net, (1, 28, 28))
    >>> account(net, (1, 28, 28)).params, account(folded, (1, 28, 28)).params
    (14372, 14250)
    """
    folds = find_folds(model, input_shape)
    left = {fold.norm: fold.reason for fold in folds if fold.layer is None}
    if strict and left:
        raise ArgumentError(
            explain(
                f"{len(left)} of {len(folds)} BatchNorms cannot be folded",
                where=type(model).__name__,
                numbers={f"{path}:": reason for path, reason in left.items()},
                remedy="Pass strict=False to leave them as they are.",
            )
        )
    pairs = {fold.norm: fold.layer for fold in folds if fold.layer is not None}
    folded = _copy(model, pairs)
    _check_pairs(folded, input_shape, pairs)
    return folded


def _copy(model: nn.Module, pairs: Mapping[str, str]) -> nn.Module:
    """A copy in which every reference to a folded module, registered or not, leads to the new."""
    module_index = ModuleIndex(model)
    modules = dict(module_index.modules.values())
    memo: dict[int, Any] = {}
    with module_index.at_inference(), torch.no_grad():
        for norm, layer in pairs.items():
            memo[id(modules[norm])] = nn.Identity()
            memo[id(modules[layer])] = _fuse(modules[layer], modules[norm])
    try:
        return copy.deepcopy(model, memo).eval()
    except Exception as error:  # a user's module may hold anything
        raise ArgumentError(
            explain(
                f"{type(model).__name__} cannot be copied",
                numbers={type(error).__name__: error},
                remedy="Make it work with copy.deepcopy.",
            )
        ) from error


def _fuse(layer: Any, norm: Any) -> nn.Module:
    """The layer with its norm in it; both as at inference."""
    if norm.weight is None:  # torch fuses such a norm with a convolution, but not with a linear
        plain = nn.BatchNorm1d(norm.num_features, norm.eps).to(norm.running_var).eval()
        plain.running_mean, plain.running_var = norm.running_mean, norm.running_var
        norm = plain
    fused: nn.Module
    if isinstance(layer, nn.Linear):
        fused = fuse_linear_bn_eval(layer, norm)
    else:
        fused = fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, _ConvTransposeNd))
    assert isinstance(fused.weight, Tensor)
    assert isinstance(fused.bias, Tensor)
    fused.bias.requires_grad_(fused.weight.requires_grad)  # torch freezes a bias that it adds
    return fused


def _check_pairs(model: nn.Module, input_shape: Any, pairs: Mapping[str, str]) -> None:
    """Run the copy on shapes, and see that it runs what was replaced, where it was."""
    watcher = Watcher(model, _LAYERS)
    with running(watcher, parse_inputs(input_shape)):
        modules = dict(watcher.module_index.modules.values())
        for norm, layer in pairs.items():
            sources = watcher.calls.get(id(modules[norm]), [])
            if [modules[layer]] != [made and made.by for made in sources]:
                raise ArgumentError(
                    explain(
                        f"a copy does not run its own {layer} and {norm}",
                        where=type(model).__name__,
                        remedy="Let forward use the modules of self, not those of a closure.",
                    )
                )


def _judge(path: str, norm: nn.Module, watcher: Watcher) -> Fold:
    """Whether a norm folds into the layer that it ran on."""
    calls = watcher.calls.get(id(norm), [])
    made = calls[0] if len(calls) == 1 else None
    layer = watcher.module_index.modules[id(made.by)][0] if made else "a layer"
    reason = (
        _of_norm(norm, len(calls))
        or (_of_layer(layer, norm, made, watcher) if made else _NO_LAYER)
        or _of_tensors(path, norm, watcher)
        or (_of_tensors(layer, made.by, watcher) if made else "")
    )
    return Fold(path, None if reason else layer, reason)


def _of_norm(norm: Any, calls: int) -> str:
    """Why a norm itself cannot be folded, or ""."""
    if calls != 1:
        return f"it runs {calls} times" if calls else "the model does not run it"
    if norm.running_mean is None or norm.running_var is None:
        return "it has no running statistics, so it normalises by the batch"
    return _of_class(norm, "it")


def _of_class(module: nn.Module, name: str) -> str:
    """Why a module may compute something other than its torch class does, or ""."""
    if any(getattr(module, hooks) for hooks in _HOOKS):
        return f"{name} has hooks"
    if module._modules or module._parameters.get("weight", module) is module:
        return f"{name} computes its parameters"
    base = next(cls for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn."))
    cls = type(module)
    if any(
        own in vars(module) or getattr(cls, own, None) is not getattr(base, own, None)
        for own in _OWN
    ):
        return f"{name} has a forward of its own"
    return ""


def _of_layer(path: str, norm: Any, made: CallResult, watcher: Watcher) -> str:
    """Why the layer before a norm cannot take it in, or ""."""
    layer: Any = made.by
    runs = len(watcher.calls[id(layer)])
    if runs != 1:
        return f"{path} runs {runs} times"
    if reason := _of_class(layer, path):
        return reason
    if made.readers != {id(norm)} or made.is_kept:
        return f"the output of {path} is also used elsewhere"
    if made.axes != layer.weight.dim():
        return f"it normalises another axis than the features of {path}"
    if isinstance(layer, _TRANSPOSED) and layer.groups > 1:
        return f"{path} is transposed and has groups, for which torch has no formula"
    kinds = {(t.dtype, t.device) for t in (layer.weight, norm.running_var)}
    if len(kinds) > 1:
        return f"{path} has another type or device"
    return ""


def _of_tensors(path: str, module: nn.Module, watcher: Watcher) -> str:
    """Why a module does not have its parameters and buffers to itself, or ""."""
    own = {id(t) for t in _tensors(module)}
    others = [
        other or "the model"
        for other, holder in watcher.module_index.modules.values()
        if holder is not module and own & {id(t) for t in _tensors(holder)}
    ]
    for key in own:
        readers = watcher.readers.get(key, set()) - {id(module)}
        others += [watcher.module_index.modules[reader][0] or "the model" for reader in readers]
    return f"{others[0]} uses the parameters of {path} as well" if others else ""


def _tensors(module: nn.Module) -> list[Tensor]:
    both = chain(module._parameters.values(), module._buffers.values())
    return [tensor for tensor in both if tensor is not None]
