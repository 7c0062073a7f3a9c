"""A chain of stages as a frozen value, and `plan`: its exact Account.

No torch here: a plan is integer arithmetic, and `models.build` makes the network itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from math import prod

from ..accounting.account import Account
from ..accounting.geometry import Count, check_shape, conv_macs
from ..accounting.receptive_field import ReceptiveField
from ..accounting.rows import Row
from ..accounting.window import Window
from ..errors import ArgumentError, SpecError, explain, located
from . import text as notation
from .stages import NAMES, Head, Layer, Stage

__all__ = ["Spec", "plan"]


@dataclass(frozen=True, slots=True)
class Spec:
    """A chain of stages.

    >>> spec = Spec.parse("c16 c16 p c32k5s2p2 gap10")
    >>> spec.stages[3]
    Conv(out_channels=32, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2), dilation=(1, 1), \
groups=1, norm=True, act=True, bias=None)
    >>> str(spec)
    'c16 c16 p c32k5s2p2 gap10'
    """

    stages: tuple[Stage, ...]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read the short text form; raises `SpecError` that points at the word.

        Words: `c16` convolution, `ds16` depthwise separable, `t10` transition, `p` max pooling,
        `gap` or `gap10` head. Modifiers, in any order: `k5` or `k3x5` kernel (default 3, pooling
        2), `s2` stride (default 1, pooling its kernel), `p1` padding (default 0: valid), `same`
        padding for odd kernels, `d2` dilation, `g4` groups, `-bn` no norm, `-act` no activation,
        `+bias` / `-bias`.
        """
        return cls(notation.parse(text))

    def layers(self, in_channels: int) -> Iterator[tuple[str, Layer]]:
        """Every layer with its path; raises `SpecError` where a stage cannot follow another."""
        channels, ended = in_channels, ""
        for name, stage in self.named_stages():
            if ended:
                raise SpecError(
                    explain(
                        f"{name} cannot follow the head, which has read the whole map",
                        remedy="Put gap last.",
                    )
                )
            try:
                stage_layers = _layers_of(stage, channels)
            except (SpecError, ArgumentError) as error:
                raise located(error, name) from None
            for layer in stage_layers:
                yield f"{name}.{layer.name}" if layer.name else name, layer
            channels = stage_layers[-1].out_channels
            ended = name if isinstance(stage, Head) else ""

    def named_stages(self) -> tuple[tuple[str, Stage], ...]:
        """Each stage with the child name that `plan` and `models.build` give it.

        >>> [name for name, _ in Spec.parse("c8 c8 p gap10").named_stages()]
        ['conv1', 'conv2', 'pool1', 'head']
        """
        counts: dict[type, int] = {}
        named = []
        for stage in self.stages:
            count = counts[type(stage)] = counts.get(type(stage), 0) + 1
            name = NAMES[type(stage)]
            named.append((name if isinstance(stage, Head) else f"{name}{count}", stage))
        return tuple(named)

    def __str__(self) -> str:
        """The canonical text form: `Spec.parse(str(spec)) == spec`."""
        return notation.write(self.stages)


def plan(spec: Spec | str, input_shape: Sequence[int], *, name: str = "") -> Account:
    """Account for a spec without building it, and without torch.

    Args:
        spec: a `Spec`, or its text form.
        input_shape: `(C, H, W)`, without the batch.
        name: title of the account; the text form by default.

    Raises:
        SpecError: the text form cannot be read, or a stage does not fit its input's channels.
        ShapeError: a layer's kernel is larger than the map it receives.

    >>> account = plan("c16 c16 c16 c16 p c16 c16 c16 gap10", (1, 28, 28))
    >>> account.params, account.receptive_field.size, account.output_shape
    (14372, (22, 22), (10,))
    """
    spec = Spec.parse(spec) if isinstance(spec, str) else spec
    shape = check_shape(input_shape)
    layers = tuple(spec.layers(shape[0]))
    rows = tuple(rows_of(layers, shape, _unread(shape)))
    local = [row.receptive_field for row in rows if not row.is_global]
    params = sum([row.params for row in rows])
    buffers = [layer.buffers for _, layer in layers if layer.role == "batch norm"]
    weights = bytes_by_type(params, buffers)
    text = str(spec)
    return Account(
        name=name or text,
        input_shape=shape,
        output_shapes=(rows[-1].output_shape,),
        rows=rows,
        receptive_field=local[-1] if local else _unread(shape),
        params=params,
        trainable_params=params,
        buffers=sum(buffers),
        weight_bytes_by_type=tuple(entry for entry in weights if entry[1]),
        peak_activation_bytes=_peak(rows, shape),
        spec=text,
    )


def bytes_by_type(params: Count, buffers: Sequence[Count]) -> tuple[tuple[str, Count], ...]:
    """Bytes of weights by type, given the buffers of each norm.

    All are float32 but the batch counter of each norm, which is an int64.
    """
    norms = len(buffers)
    return ("float32", 4 * (params + sum(buffers) - norms)), ("int64", 8 * norms)


def _unread(shape: tuple[int, ...]) -> ReceptiveField:
    """The field of the input itself."""
    return ReceptiveField((Window(),) * (len(shape) - 1))


def _peak(rows: tuple[Row, ...], shape: tuple[int, ...]) -> int:
    """Most bytes of activations at once when the network runs; its caller holds the input."""
    peak, outside, stage_input = 0, 0, shape
    for _, group in groupby(rows, lambda row: row.path.partition(".")[0]):
        stage_rows = list(group)
        peak = max(peak, outside + max(live_bytes(stage_rows, stage_input[0], stage_input[1:])))
        outside, stage_input = 4 * prod(shape), stage_rows[-1].output_shape
    return peak


def live_bytes(rows: Iterable[Row], in_channels: Count, size: tuple[int, ...]) -> Iterator[Count]:
    """Bytes of float32 activations that live while each row of one stage runs, its input included.

    Every chain holds the input of the child that is running, as the frames of
    `nn.Sequential.forward` do. A max pooling also writes an index of eight bytes per output.
    """
    sizes = [4 * in_channels * prod(size)]
    parents: list[str] = []
    inputs: list[int] = []  # of each parent: which tensor it reads
    for i, row in enumerate(rows):  # row i reads tensor i and gives tensor i + 1
        sizes.append(4 * prod(row.output_shape))
        chain = row.path.split(".")[:-1]
        same = 0
        while same < min(len(chain), len(parents)) and chain[same] == parents[same]:
            same += 1
        parents, inputs = chain, inputs[:same] + [i] * (len(chain) - same)
        live = sum([sizes[k] for k in {i, *inputs}]) + sizes[i + 1]
        yield live + 2 * sizes[i + 1] if row.role == "max pooling" else live


@lru_cache(maxsize=4096)
def _layers_of(stage: Stage, in_channels: int) -> tuple[Layer, ...]:
    # A network repeats few distinct stages, and both are immutable: listing one once is safe.
    return tuple(stage.layers(in_channels))


def rows_of(
    layers: Iterable[tuple[str, Layer]], shape: tuple[Count, ...], field: ReceptiveField
) -> Iterator[Row]:
    """One row per layer, for a map of `shape` that sees `field`.

    Each reads the row before it, and the first one the input. Channels may be integer arrays: then
    so are parameters and MACs, of that many networks at once.
    """
    size = shape[1:]
    for i, (path, layer) in enumerate(layers):
        macs, sliding = 0, layer.sliding
        if sliding is not None:
            size = sliding.output_size(size, where=path)
            field = _then(field, layer.windows, path)
            macs = conv_macs(layer.weights, prod(size))
            shape = (layer.out_channels, *size)
        elif layer.is_global:
            field = _then(field, map(Window.whole, size), path)
            size = ()
            shape = (layer.out_channels,)
        params = layer.weights + layer.biases
        yield Row(
            path, layer.kind, shape, params, macs, field, sliding, layer.is_global, False, False,
            "", (i - 1,), (), layer.role, layer.has_bias, layer.weight_shape,
        )  # fmt: skip


def _then(field: ReceptiveField, windows: Iterable[Window], path: str) -> ReceptiveField:
    try:
        return field.then(tuple(windows))
    except ArgumentError as error:  # too wide to be followed
        raise located(error, path) from None
