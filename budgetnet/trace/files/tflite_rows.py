"""The account of a `.tflite` file, operator by operator."""

from __future__ import annotations

from dataclasses import replace

from ...accounting.account import Account
from ...accounting.device.model import DTYPES, TfliteModel, TfliteTensor
from ...errors import BudgetnetError, FormatError, explain, name_in_errors, one_line, shown
from .building import Builder, Effect, laid_out, peak_bytes
from .flatbuffer import raise_damaged
from .maps import input_map, unfollowed
from .tflite import parse_tflite
from .tflite_call import Call, stored_of
from .tflite_costs import operator_macs
from .tflite_rules import RULES


def account_of_tflite(data: bytes, name: str, title: str, *, strict: bool) -> Account:
    """The account of the bytes of a `.tflite` file; errors call it `name`.

    Raises:
        FormatError: it is damaged.
        UnsupportedOp: an operator has no rule, and the account is strict.
    """
    model = parse_tflite(data, name)
    with name_in_errors(name):
        _check_ends(model)
        built = laid_out(lambda channels: _Built(model, title, channels), -1, 1)
        return built.account(strict=strict)


def _check_ends(model: TfliteModel) -> None:
    """Refuse a graph that nothing goes into, or that gives nothing."""
    if not model.inputs or not model.outputs:
        what = "its graph has no input" if not model.inputs else "its graph has no output"
        raise FormatError(explain(what))
    for i in model.inputs:
        if not model.tensors[i].elements:
            raise FormatError(explain(f"the input {shown(model.tensors[i].name)} has no elements"))


class _Built(Builder):
    """A builder that knows what every tensor holds."""

    def __init__(self, model: TfliteModel, title: str, channels: int) -> None:
        """Add the rows of all operators."""
        tensors = [model.tensors[i] for i in model.inputs]
        axes = max(len(tensors[0].shape) - 2, 0) if tensors else 0
        inputs = [
            input_map(tensor.shape, channels, row=-1 - k, axes=axes, dtype=tensor.dtype)
            for k, tensor in enumerate(tensors)
        ]
        super().__init__(title, inputs)
        self.model, self.known = model, dict(zip(model.inputs, inputs, strict=True))
        self.made: dict[int, list[int]] = {}  # of what was made of constants: of which ones
        for k, operator in enumerate(model.operators):
            call = Call(model, k, self.known, self.made)
            if not call.maps:
                self.made |= dict.fromkeys(operator.outputs, call.weights())
                continue
            maps = self.add(call.name, operator.name, call.maps, effect_of(call))
            self.known |= zip(operator.outputs, maps, strict=True)

    def account(self, *, strict: bool) -> Account:
        """The account, with what needs the whole graph."""
        model = self.model
        sizes = {i: _bytes(model.tensors[i]) for i in self.known}
        steps = [(operator.inputs, operator.outputs) for operator in model.operators]
        read = {i for operator in model.operators for i in operator.inputs} | {*model.outputs}
        unread = [i for i, tensor in enumerate(model.tensors) if tensor.constant and i not in read]
        outputs = [self.known[i] for i in model.outputs if i in self.known]
        if not outputs:
            raise FormatError(explain("none of its outputs depends on an input"))
        return self.finish(
            outputs,
            peak_bytes(steps, sizes, model.inputs, model.outputs),
            [stored_of(model, i) for i in unread],
            strict=strict,
        )


def _bytes(tensor: TfliteTensor) -> int | None:
    return None if DTYPES.get(tensor.dtype) is None else tensor.bytes


def effect_of(call: Call) -> Effect:
    """What it does; unknown where no rule says so, or the rule lacks what it needs."""
    macs = operator_macs(call.model, call.k)
    outputs = [call.model.tensors[i] for i in call.operator.outputs]
    if not outputs:
        raise_damaged(f"operator {call.k} ({call.operator.name}) has no output")
    rule = RULES.get(call.operator.name)
    if rule is None:
        effect = None
    else:
        try:
            effect = rule(call)
        except BudgetnetError as error:  # such as windows that are too wide
            effect = Effect((), unknown=one_line(error))
    if effect is None:
        reason = f"no accounting rule covers {call.operator.name}"
        effect = Effect((), unknown="" if _is_harmless(call, macs) else reason)
    maps = list(effect.maps)
    for tensor in outputs[len(maps) :]:
        why = effect.unknown
        maps.append(unfollowed(call.maps, tensor.shape, tensor.dtype, why))
    for x, tensor in zip(maps, outputs, strict=False):
        if x.shape != tensor.shape:
            call.raise_misfit(x.shape, tensor.shape)
    typed = tuple(replace(x, dtype=t.dtype) for x, t in zip(maps, outputs, strict=False))
    activation = (call.operator.options.activation or "").upper()
    return replace(
        effect,
        maps=typed,
        macs=macs,
        stored=[stored_of(call.model, i) for i in call.weights()],
        activation=activation,
    )


def _is_harmless(call: Call, macs: int | None) -> bool:
    """Whether nothing is lost without a rule: no MACs, and all has been read before."""
    return macs is not None and all(x.is_global for x in call.maps)
