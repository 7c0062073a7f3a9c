"""An account as the operators and tensors that a runtime has: fused, in its types, channels last.

Converters of PyTorch write a few operators more than a network needs that was made for the runtime:
a PAD where torch pads in a way that "same" does not express, a TRANSPOSE where a map is flattened.
They are not counted, and the notes say where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from ...errors import names_text
from ..account import Account
from ..geometry import Sliding
from ..roles import WEIGHTED
from ..rows import layer_paths
from .groups import Group, groups_of
from .model import Options, TfliteModel, TfliteOperator, TfliteTensor
from .operators import is_clamp
from .target import Target


@dataclass(frozen=True)
class Lowered:
    """A model, and where it comes from.

    Attributes:
        model: operators and tensors; constants have sizes and no values.
        places: the layer that each operator belongs to.
        kinds: what each operator computes, in the words of the account.
        flash_bytes: of weights and biases.
        assumed: what its figures rest on that is not known; empty if they are exact.
        notes: what converters may write beside it.
    """

    model: TfliteModel
    places: tuple[str, ...]
    kinds: tuple[str, ...]
    flash_bytes: int
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_ALONE = "taken as one operator each"
_SHARED = "weights that others may hold as well are counted"
_MOST_JOINED = 10  # kMaxInputNum in tensorflow/lite/micro/kernels/concatenation.cc
_WIDE = f"more than {_MOST_JOINED} maps concatenated at once, which it refuses"
_MIXED = "clamped before the scale that concatenated maps share is known"
_PADDED = "padded as 'same' does not, where a converter from PyTorch adds a PAD"
_RESHAPED = "reshaped channels last, where a converter from PyTorch adds a TRANSPOSE"


def lower(account: Account, target: Target) -> Lowered:
    """The operators and tensors of an account, for TensorFlow Lite Micro or ExecuTorch.

    Raises:
        UnsupportedOp: a row is unknown, is a recurrent layer, or is several operations in one.
    """
    groups, outputs = groups_of(account, target)
    writer = _Writer(account, target)
    for value, group in groups.items():
        writer.write(value, group)
    model = TfliteModel(
        account.name, tuple(writer.tensors), tuple(writer.operators),
        inputs=tuple(range(len(account.input_shapes))),
        outputs=tuple(writer.of_value[i] for i in outputs),
    )  # fmt: skip
    said: dict[bool, list[str]] = {True: [], False: []}
    for what, at in writer.found.items():
        said[what in (_ALONE, _SHARED, _MIXED, _WIDE)].append(
            f"{what}: {names_text(list(dict.fromkeys(at)))}"
        )
    return Lowered(
        model, tuple(writer.places), tuple(writer.kinds),
        sum(flash_bytes(group, target) for group in groups.values()),
        tuple(said[True]), tuple(said[False]),
    )  # fmt: skip


def flash_bytes(group: Group, target: Target) -> int:
    """The bytes of a group's weights and biases; 0 for a layer that runs again as it was."""
    head, sizes = group.head, target.bytes
    if not head.weight_shape:
        each = sizes.weight if head.role in WEIGHTED else sizes.value
        return each * sum(row.params for row in group.rows)
    if head.reused and not group.has_norm:
        return 0
    biases = group.has_bias * _biases(group)
    beside = sum(row.params for row in group.rows[1:] if row.role != "batch norm")
    return sizes.weight * prod(head.weight_shape) + sizes.bias * biases + sizes.value * beside


def _biases(group: Group) -> int:
    """As many as there are output channels, or features."""
    head = group.head
    return head.weight_shape[0] if head.role == "linear" else head.output_shape[0]


@dataclass
class _Writer:
    """A model that is being written."""

    account: Account
    target: Target
    tensors: list[TfliteTensor] = field(default_factory=list)
    operators: list[TfliteOperator] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    of_value: dict[int, int] = field(default_factory=dict)  # the tensor of each value
    found: dict[str, list[str]] = field(default_factory=dict)  # what is to be said, and where
    positive: dict[int, bool] = field(default_factory=dict)  # whether a value is never below 0

    def __post_init__(self) -> None:
        """Write the inputs."""
        self.paths = layer_paths(self.account.rows)
        ids = {j for row in self.account.rows for j in row.reads if row.kind == "Embedding"}
        for k, shape in enumerate(self.account.input_shapes):
            name = "input" if k == 0 else f"input {k + 1}"
            self.of_value[-1 - k] = self.map(name, shape, "int32" if -1 - k in ids else "")

    def map(self, name: str, shape: tuple[int, ...], dtype: str = "") -> int:
        """A map, batch first and channels last."""
        last = (1, *shape[1:], *shape[:1])
        self.tensors.append(TfliteTensor(name, last, dtype or self.target.dtype))
        return len(self.tensors) - 1

    def constant(self, name: str, shape: tuple[int, ...], dtype: str = "int32") -> int:
        """A constant."""
        tensor = TfliteTensor(name, shape, dtype, buffer=len(self.tensors))
        self.tensors.append(replace(tensor, stored=max(1, tensor.bytes)))
        return len(self.tensors) - 1

    def say(self, what: str, place: str) -> None:
        """Keep what is to be said of a layer."""
        self.found.setdefault(what, []).append(place)

    def write(self, value: int, group: Group) -> None:
        """Write the operators of a group, which makes a value."""
        place = self.paths[group.head.path] or group.head.kind
        reads = tuple(self.of_value[i] for i in group.reads)
        names = group.operators or (f"CUSTOM {group.head.kind}",)
        if not group.operators:
            self.say(_ALONE, group.head.path or place)
        self.watch(value, group, place)
        wide = names == ("CONCATENATION",) and len(reads) > _MOST_JOINED
        if wide and self.target.runtime == "tflm":
            self.say(_WIDE, place)
        if group.head.weight_shape and not group.head.params and not group.head.reused:
            self.say(_SHARED, place)
        shape, kind = group.rows[-1].output_shape, group.kind
        if len(names) > 1:  # a norm's scale, then its shift; or what a gate multiplies
            is_norm = group.head.role == "batch norm"
            between = self.map(f"{place} {names[0]}", shape)
            scale = self.both(reads, shape, f"{place} scale") if is_norm else reads
            self.add(names[0], scale, (between,), place, kind)
            reads = self.both((between,), shape, f"{place} shift") if is_norm else (between, *reads)
        options = Options()
        if len(names) == 1 and group.operators:
            if group.head.sliding is not None and names != ("TRANSPOSE_CONV",):
                options, reads = self.sliding(group.head.sliding, group, reads, place)
            reads = self.operands(names[0], group, reads, place)
        self.of_value[value] = self.map(place, shape)
        writes: tuple[int, ...] = (self.of_value[value],)
        if names == ("MAX_POOL_2D",) and not self.is_quantised:  # torch's gives indices as well
            writes = (*writes, self.map(f"{place} indices", shape, "int64"))
        self.add(names[-1], reads, writes, place, kind, options)

    def both(self, reads: tuple[int, ...], shape: tuple[int, ...], name: str) -> tuple[int, ...]:
        """A map, and a constant for each of its channels."""
        return (*reads, self.constant(name, shape[:1], self.target.dtype))

    def watch(self, value: int, group: Group, place: str) -> None:
        """Say where ExecuTorch may not clamp within a convolution: concatenated maps share a scale.

        If one of them goes below 0, the lowest value that the scale has is not 0, as the fusing of
        a ReLU wants it.
        """
        signs = {self.positive.get(i, False) for i in group.reads}
        keeps = group.operators in (("CONCATENATION",), ("MAX_POOL_2D",), ("MEAN",))
        self.positive[value] = is_clamp(group.rows[-1]) or (keeps and signs == {True})
        is_executorch = (self.target.runtime, self.target.dtype) == ("executorch", "int8")
        if is_executorch and group.operators == ("CONCATENATION",) and len(signs) > 1:
            self.say(_MIXED, place)

    @property
    def is_quantised(self) -> bool:
        """Whether its operators are those of a runtime, not torch's own in float32."""
        return self.target.kernels != "portable"

    def add(
        self, name: str, reads: tuple[int, ...], writes: tuple[int, ...], place: str, kind: str,
        options: Options | None = None,
    ) -> None:  # fmt: skip
        """Write an operator."""
        self.operators.append(TfliteOperator(name, reads, writes, options or Options()))
        self.places.append(place)
        self.kinds.append(kind)

    def operands(
        self, name: str, group: Group, reads: tuple[int, ...], place: str
    ) -> tuple[int, ...]:
        """What an operator reads, constants included."""
        head, source = group.head, group.source
        if head.weight_shape:
            return self.weighted(name, group, reads, place)
        if (
            name in ("ADD", "SUB", "MUL", "DIV") and len(reads) == 1
        ):  # a map and itself, or a number
            return reads * 2 if head.role == "join" else self.both(reads, (1,), f"{place} number")
        if name in ("MEAN", "REDUCE_MAX", "SUM"):
            axes = len(source) - (len(head.output_shape) if name == "SUM" else 1)
            reads = (*reads, self.constant(f"{place} axes", (max(axes, 1),)))
        elif name in ("RESHAPE", "PAD", "TRANSPOSE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            reads = (*reads, self.constant(f"{place} shape", (len(head.output_shape) + 1,)))
        if name == "RESHAPE" and prod(source[1:]) > 1:
            self.say(_RESHAPED, place)
        return reads

    def weighted(
        self, name: str, group: Group, reads: tuple[int, ...], place: str
    ) -> tuple[int, ...]:
        """What a layer with weights reads: the map, weights and bias, laid out for the runtime."""
        outer, inner, *kernel = group.head.weight_shape
        shape = {
            "CONV_2D": (outer, *kernel, inner), "DEPTHWISE_CONV_2D": (1, *kernel, outer),
            "TRANSPOSE_CONV": (inner, *kernel, outer), "FULLY_CONNECTED": (outer, inner),
        }[name]  # fmt: skip
        sizes = self.target.bytes
        weight = self.constant(f"{place} weight", shape, "float32" if sizes.weight == 4 else "int8")
        made = [weight]
        if group.has_bias:
            kind = "int64" if sizes.bias == 8 else "int32" if sizes.weight == 1 else "float32"
            made.append(self.constant(f"{place} bias", (_biases(group),), kind))
        if name == "FULLY_CONNECTED" and not self.is_quantised:  # torch's addmm reads them turned
            made[0] = self.map(f"{place} weight, turned", (inner, outer))
            self.add("TRANSPOSE", (weight,), (made[0],), place, "permute")
        if name == "TRANSPOSE_CONV":
            return (self.constant(f"{place} shape", (4,)), weight, *reads, *made[1:])
        return (*reads, *made)

    def sliding(
        self, window: Sliding, group: Group, reads: tuple[int, ...], place: str
    ) -> tuple[Options, tuple[int, ...]]:
        """Options of a window, and what it reads: its map, or one that a PAD has made larger."""
        channels, *size = group.source
        made = group.head.output_shape[1:]
        padding = _padding(window, tuple(size), made)
        if padding is None and self.target.runtime == "tflm":
            if all(n == -(-m // s) for m, n, s in zip(size, made, window.stride, strict=True)):
                self.say(_PADDED, place)
            else:
                padding = "valid"
                wide = self.map(f"{place} padded", (channels, *_padded(window, size, made)))
                amounts = self.constant(f"{place} paddings", (len(size) + 2, 2))
                self.add("PAD", (*reads, amounts), (wide,), place, "padding")
                reads = (wide,)
        (down, across), (rows, columns) = window.stride, window.kernel
        dilation = (window.dilation[0], window.dilation[1])
        return Options((down, across), dilation, padding or "same", (rows, columns)), reads


def _padded(window: Sliding, size: Sequence[int], made: Sequence[int]) -> list[int]:
    """The size of a map with its padding, and with what a pooling of `ceil_mode` reads beyond."""
    axes = zip(
        size, made, window.kernel, window.stride, window.dilation, window.padding, strict=True
    )
    return [
        max(have + before + after, (n - 1) * stride + (kernel - 1) * dilation + 1)
        for have, n, kernel, stride, dilation, (before, after) in axes
    ]


def _padding(window: Sliding, size: tuple[int, ...], out: tuple[int, ...]) -> str | None:
    """The padding as TensorFlow Lite names it, or `None` if it has no name for it.

    "same" gives `ceil(size / stride)` and pads half of what is missing before, rounded down.
    """
    same = valid = True
    axes = zip(
        size, out, window.kernel, window.stride, window.dilation, window.padding, strict=True
    )
    for have, made, kernel, stride, dilation, (before, _) in axes:
        end = (made - 1) * stride + (kernel - 1) * dilation + 1 - before  # of what is read
        valid &= before == 0 and end <= have
        same &= made == -(-have // stride) and before == max(end + before - have, 0) // 2
    return "valid" if valid else "same" if same else None
