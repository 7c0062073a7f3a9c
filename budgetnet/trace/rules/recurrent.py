"""Rules of recurrent layers and cells, each as one operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from ...accounting.table import compact
from ...errors import ShapeError, explain
from .choices import all_of
from .core import Activation, Effect, Operand, no_rule, of, rule, spread
from .readings import Reading


def _sequence(
    x: Operand,
    states: Sequence[Operand],
    params: Sequence[Tensor],
    bidirectional: bool,
    batch_first: bool,
) -> Effect:
    """Every step of the output, and every last state, counts as reading the whole sequence.

    A layer that runs one way reads the steps up to each one; no window says that, and through the
    state nothing but the sequence's own start bounds it. Each weight is used once per step.
    """
    if x.dim() != 3:
        raise no_rule("a recurrent layer on an input that is not a batch of sequences", x)
    time = 1 if batch_first else 0
    directions = 2 if bidirectional else 1
    # A projection makes the state that is handed on narrower than the cells.
    width = states[0].shape[-1]
    shape = [*x.shape[:2], width * directions]
    tracked = [v for v in (x, *states) if isinstance(v, Activation)]
    read = _read(x, states, time)
    macs = sum(w.numel() for w in params if w.dim() == 2) * prod(x.shape[:2])
    whole = [r.reshape([*shape[:2], 1]).expand(shape) for r in read]
    last = []
    for state in states:
        each = [_last(r, time).expand(state.shape) for r in read]
        last.append(replace(all_of(each, tracked, tuple(state.shape)), dtype=x.dtype))
    effect = all_of(whole, tracked, tuple(shape))
    return replace(effect, macs=macs, dtype=x.dtype, extra=tuple(last))


def _read(x: Operand, states: Sequence[Operand], time: int) -> list[Reading]:
    """What a sequence and its first states have read, for every step `(.., .., 1)` alike."""
    found = []
    if isinstance(x, Activation):
        found.append(spread(x, [time]).gather([2]))
    for state in states:
        if isinstance(state, Activation):
            one = of(state).gather([0, 2])  # (1, N, 1)
            one = one.permute([1, 0, 2]) if time == 1 else one
            size = (state.shape[1], x.shape[1]) if time == 1 else (x.shape[0], state.shape[1])
            found.append(one.expand((*size, 1)))
    return found


def _last(reading: Reading, time: int) -> Reading:
    """The state of any step as `(1, N, 1)`."""
    one = reading.take(time, 0, 1, 1)
    return one.permute([1, 0, 2]) if time == 1 else one


def _check_weights(
    x: Operand,
    states: Sequence[Operand],
    params: Sequence[Tensor],
    layout: tuple[int, bool, int, bool],
) -> None:
    """Raise if weights do not fit the layer; `layout` is gates, biases, layers, both ways."""
    gates, has_biases, layers, bidirectional = layout
    directions = 2 if bidirectional else 1
    hidden, given = states[-1].shape[-1], states[0].shape[-1]
    rows = gates * hidden
    expected: list[tuple[int, ...]] = []
    for layer in range(layers):
        width = x.shape[-1] if layer == 0 else given * directions
        one: list[tuple[int, ...]] = [(rows, width), (rows, given)]
        one += [(rows,), (rows,)] if has_biases else []
        one += [(given, hidden)] if given != hidden else []
        expected += one * directions
    got = [tuple(param.shape) for param in params]
    if got != expected or any(state.shape[0] != layers * directions for state in states):
        wanted, have = (", ".join(map(compact, shapes)) for shapes in (expected, got))
        raise ShapeError(
            explain(
                "the weights of a recurrent layer do not match its sizes",
                numbers={"expected": wanted, "got": have},
                remedy="Create the layer again with these sizes.",
            )
        )


def _layers(gates: int) -> Callable[..., Effect]:
    """Rule of layers with so many gates; the last states are further results."""

    def layers(
        x: Operand,
        hx: Operand,  # a state, or the two of an LSTM
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> Effect:
        states = hx if isinstance(hx, list | tuple) else [hx]
        _check_weights(x, states, params, (gates, has_biases, num_layers, bidirectional))
        return _sequence(x, states, params, bidirectional, batch_first)

    return layers


rule("lstm", role="recurrent")(_layers(4))
rule("gru", role="recurrent")(_layers(3))
rule("rnn_tanh", "rnn_relu", role="recurrent")(_layers(1))


@rule("mkldnn_rnn_layer", role="recurrent")
def mkldnn_layer(
    x: Operand, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, hx: Operand, cx: Operand,
    *_: Any,
) -> Effect:  # fmt: skip
    """One layer and direction of an LSTM, as CPUs run it; time comes first."""
    read = _read(x, [], 0)
    tracked = [v for v in (x, hx, cx) if isinstance(v, Activation)]
    states = [of(v).gather([1]) for v in (hx, cx) if isinstance(v, Activation)]
    read += [state.insert(0).expand((*x.shape[:2], 1)) for state in states]
    shape = (*x.shape[:2], hx.shape[-1])
    macs = (w_ih.numel() + w_hh.numel()) * prod(x.shape[:2])
    effect = all_of([r.expand(shape) for r in read], tracked, shape)
    ends = tuple(
        replace(
            all_of([r.select(0, 0).expand(v.shape) for r in read], tracked, tuple(v.shape)),
            dtype=x.dtype,
        )
        for v in (hx, cx)
    )
    return replace(effect, macs=macs, dtype=x.dtype, extra=ends)


@rule("lstm_cell", role="recurrent")
def lstm_cell(x: Operand, hx: Sequence[Operand], w_ih: Tensor, w_hh: Tensor, *_: Any) -> Effect:
    """One step of an LSTM: all of the input and hidden state, and the cell state's own element."""
    hidden, cell = hx
    effect = _step(x, hidden, cell, w_ih, w_hh)
    return replace(effect, extra=(replace(effect, macs=0),))


@rule("gru_cell", "rnn_tanh_cell", "rnn_relu_cell", role="recurrent")
def gru_cell(x: Operand, hx: Operand, w_ih: Tensor, w_hh: Tensor, *_: Any) -> Effect:
    """One step of a GRU or plain recurrent layer: all of the input and hidden state."""
    return _step(x, hx, None, w_ih, w_hh)


def _step(x: Operand, hidden: Operand, cell: Operand, w_ih: Tensor, w_hh: Tensor) -> Effect:
    shape = tuple(hidden.shape)
    last = hidden.dim() - 1
    tracked = [v for v in (x, hidden, cell) if isinstance(v, Activation)]
    readings = [
        of(v).gather([last]).expand(shape) for v in (x, hidden) if isinstance(v, Activation)
    ]
    if isinstance(cell, Activation):
        readings.append(of(cell))
    macs = (w_ih.numel() + w_hh.numel()) * prod(x.shape[:-1])
    return replace(all_of(readings, tracked, shape), macs=macs, dtype=x.dtype)
