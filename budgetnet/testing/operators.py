"""An oracle for rules: compares the claims for one operator with the operator itself.

The rules say which elements of a tracked tensor each element of an output has read. The oracle
shares nothing with them: it runs the real operator repeatedly with one element changed, and every
output that changes has read that element.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..accounting.receptive_field import ReceptiveField
from ..accounting.window import Window
from ..errors import BudgetnetError, ForwardError
from ..trace.modules import ModuleIndex
from ..trace.rules import Activation
from ..trace.rules.core import NOTHING
from ..trace.rules.readings import CHANNEL, Reading
from ..trace.run import Inputs, running
from ..trace.tracer import Tracer

Bools = np.ndarray[Any, np.dtype[np.bool_]]
LAYOUTS = ("axes", "map")
_LARGE = 1e3
_PLACE = "the model (_Operator): "  # where every refusal here arises
_MOST_OUTPUTS = 20_000  # elements of one output; beyond them a truth takes too long
_MISTAKES = (ValueError, LookupError, AttributeError, ArithmeticError)  # of a rule


@contextmanager
def without_mkldnn() -> Iterator[None]:
    """Plain kernels: torch's own `mkldnn.flags` would touch the precision of others as well."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


class Verdict(NamedTuple):
    """What the oracle says of one operator call with one tensor tracked.

    Attributes:
        tracked: the argument, such as `[0][1]` or `[1]['weight']`, of `(args, kwargs)`.
        layout: "axes", where every dimension is an axis of its own, or "map", `(N, C, *spatial)`;
            "... beside others", if other tensors are tracked as well, which have read nothing.
        outcome: "right"; "loose", if more is claimed than read; "refused", with a named error;
            "wrong", if something read is not claimed, or a shape, type or count is not the real
            one; "crashed", with an error that is not budgetnet's.
        reason: for all but "right".
    """

    tracked: str
    layout: str
    outcome: str
    reason: str = ""


class CannotRun(Exception):
    """The operator itself does not run on these arguments, or not in a way that can be watched."""


def assert_reads_match(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    layouts: Sequence[str] = LAYOUTS,
    exact: bool = True,
    seed: int = 0,
) -> int:
    """Check the rules of the operations that a function runs against the function itself.

    Every tensor among the arguments is tracked in turn, while the others are constants. Keep them
    small, since the function runs some ten times for each element. Shapes, types and MACs are
    compared as well. Returns how many times a tensor was tracked.

    Each is tracked in two layouts: as "axes", with every dimension an axis of its own, and as a
    "map" `(N, C, *spatial)` if it has three dimensions or more. Where there are others like it,
    both are done again with those tracked too, which have read nothing.

    Args:
        function: any callable on tensors that gives tensors; bind weights that no rule lets depend
            on the input into it: `lambda x: conv2d(x, weight)`.
        args: its arguments, tensors and others, nested in lists as the function wants them.
        kwargs: its keyword arguments.
        layouts: "map" alone is for rules of plain maps.
        exact: raise too where more is claimed than was seen to be read.
        seed: of the values that elements are replaced by, and of the function's own draws.

    Raises:
        AssertionError: an output has read what its rule does not claim, or the like.
        BudgetnetError: the rules refuse to follow the function.
        CannotRun: the function itself raises, or gives no strided tensors.

    >>> assert_reads_match(torch.nn.functional.avg_pool1d, [torch.rand(1, 2, 6), 3])
    2
    """
    count = 0
    found = judge(function, args, kwargs or {}, layouts=layouts, seed=seed, raises=True)
    for verdict in found:
        failed = verdict.outcome == "wrong" or (exact and verdict.outcome == "loose")
        where = f"argument {verdict.tracked} as {verdict.layout}"
        assert not failed, f"{where}: {verdict.outcome}: {verdict.reason}"
        count += 1
    return count


def judge(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    layouts: Sequence[str] = LAYOUTS,
    seed: int = 0,
    raises: bool = False,
) -> Iterator[Verdict]:
    """A verdict for every tensor among the arguments, and every layout that it can have.

    Raises:
        CannotRun: the function itself raises, or gives no strided tensors.
    """
    call = Call(function, args, kwargs, seed)
    with _plain_kernels():
        call.outputs(call.leaves)
    for place, leaf in enumerate(call.leaves):
        if not isinstance(leaf, Tensor):
            continue
        truth: Truth | None = None
        macs: list[int | None] = []
        for layout in _layouts(call, place, layouts):
            try:
                claim = trace_operator(call, place, layout)
            except Exception as error:  # whatever it is, it is a verdict
                if raises:
                    raise
                yield Verdict(call.paths[place], layout, *_failed(error))
                continue
            if truth is None:
                with _plain_kernels():
                    truth = find_truth(call, place)
                    macs = [
                        count_macs(call, tracked_places(call, place, beside))
                        for beside in (False, True)
                    ]
            verdict = _compare(claim, truth, leaf, layout, macs[layout.endswith("others")])
            yield Verdict(call.paths[place], layout, *verdict)


def _layouts(call: Call, place: int, layouts: Sequence[str]) -> Iterator[str]:
    """The layouts that a tensor can have; those beside others only if there are any."""
    x = call.leaves[place]
    several = len(tracked_places(call, place, beside=True)) > 1
    for layout in layouts:
        if layout == "map" and x.dim() < 3:
            continue
        yield layout
        if several:
            yield f"{layout} beside others"


def tracked_places(call: Call, place: int, beside: bool) -> list[int]:
    """Which arguments are tracked: one, or all of its type and number of dimensions."""
    x = call.leaves[place]
    if not beside or not x.dim():
        return [place]
    return [
        i
        for i, leaf in enumerate(call.leaves)
        if isinstance(leaf, Tensor) and (leaf.dim(), leaf.dtype) == (x.dim(), x.dtype)
    ]


def _failed(error: Exception) -> tuple[str, str]:
    lines = str(error).splitlines() or [""]
    if isinstance(error, BudgetnetError):
        return "refused", lines[0].removeprefix(_PLACE).split(". ")[0].rstrip(".")
    return "crashed", f"{type(error).__name__}: {lines[0][:160]}"


# ---- the call


class Call:
    """One call of an operator, whose tensors can be replaced."""

    def __init__(
        self, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], seed: int
    ) -> None:
        """Flatten the arguments."""
        self.function, self.seed = function, seed
        found, self.spec = pytree.tree_flatten_with_path((list(args), dict(kwargs)))
        self.paths = [pytree.keystr(path) for path, _ in found]
        self.leaves = [_owned(leaf) for _, leaf in found]

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """What the function gives for these leaves, with the draws of the seed."""
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        torch.default_generator.manual_seed(self.seed)
        return self.function(*args, **kwargs)

    def outputs(self, leaves: Sequence[Any]) -> list[Tensor]:
        """The tensors and numbers that the function gives for copies of these leaves."""
        fresh = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        try:
            with torch.no_grad():
                found = flatten_result(self(fresh))
        except Exception as error:  # a sample that the operator itself refuses
            raise CannotRun(f"{type(error).__name__}: {error}") from error
        outs = [out if isinstance(out, Tensor) else torch.tensor(out) for out in found]
        if any(out.layout != torch.strided or out.is_nested for out in outs):
            raise CannotRun("an output is not strided")
        if any(out.numel() > _MOST_OUTPUTS for out in outs):
            raise CannotRun("an output is too large")
        return outs


def flatten_result(value: Any) -> list[Any]:
    """The tensors and numbers of a nested result."""
    kept = (Tensor, int, float, complex)
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, kept)]


def _owned(leaf: Any) -> Any:
    """A tensor of its own memory, each element once."""
    if not isinstance(leaf, Tensor):
        return leaf
    if leaf.layout != torch.strided or leaf.is_nested or leaf.is_quantized:
        raise CannotRun("an argument is not strided")
    return leaf.detach().resolve_conj().resolve_neg().clone()


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Plain algorithms: a fast one may mix what cancels out, and that would count as read.

    Deterministic ones also fill memory that an operator leaves as it was found.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with (
            warnings.catch_warnings(),
            torch.random.fork_rng(devices=[]),
            without_mkldnn(),
            sdpa_kernel(SDPBackend.MATH),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


# ---- the claim


@dataclass(slots=True)
class Output:
    """What the tracer says of one output.

    Attributes:
        shape: of the output.
        dtype: of the output; `None` for a number.
        reads: for a position of the output, what it has read along each axis.
        number: the output, if it is a number.
        context: windows that do not move are left out beside ones that do.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    reads: Callable[[tuple[int, ...]], tuple[frozenset[int], ...]]
    number: Any = None
    context: bool = False


@dataclass(slots=True)
class Predicted:
    """What the tracer says of a call: its outputs, and figures of the whole of it.

    `repeats` says that positions are repeated at the border: by convention a claim has them outside
    the input, as zeros are, while they are read inside.
    """

    outputs: list[Output]
    context: bool
    macs: int
    repeats: bool = False


class _Operator(nn.Module):
    """Runs the call that it is given; a copy of it shares that call."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self.run = run
        self.child = nn.Identity()  # a module without any is one row, whatever runs in it

    def forward(self, _: Tensor) -> Any:
        return self.run.go()


class _Run:
    """A call with some tensors tracked; its slots keep the tracer from copying what is in it."""

    __slots__ = ("beside", "call", "layout", "leaves", "place", "tracer")
    tracer: Tracer

    def __init__(self, call: Call, place: int, layout: str) -> None:
        self.call, self.place, self.layout = call, place, layout
        self.beside = tracked_places(call, place, layout.endswith("others"))
        self.leaves = [x.clone() if isinstance(x, Tensor) else x for x in call.leaves]

    def go(self) -> Any:
        axes = len(axis_sizes(self.leaves[self.place], self.layout))
        for i in self.beside:
            if i != self.place:
                self.leaves[i] = self.tracked(i, NOTHING, axes)
        self.leaves[self.place] = self.tracked(self.place, Window(), axes)
        return self.call(self.leaves)

    def tracked(self, place: int, window: Window, axes: int) -> Activation:
        x, field = self.leaves[place], ReceptiveField((window,) * axes)
        reads: Any = field
        if self.layout.startswith("axes"):
            dims = tuple(((axis, n),) for axis, n in enumerate(x.shape))
            reads = Reading(dims, (field,), np.zeros((), np.intp))
        out = self.tracer.input(tuple(x.shape), reads, 0, x.dtype)
        out.is_global = False  # positions of the layout, whatever their number of dimensions
        return out


def trace_operator(call: Call, place: int, layout: str) -> Predicted:
    """Run a call under the tracer with one tensor tracked; nothing else here uses its internals.

    Every dimension of the tensor is an axis of its own, so that a claim is a set of positions in
    it; as a "map" the first two are batch and channels, which claims say nothing of.
    """
    x: Tensor = call.leaves[place]
    run = _Run(call, place, layout)
    model = _Operator(run)
    tracer = Tracer(model, ModuleIndex(model), strict=True, shortcuts=False)
    if x.is_floating_point():
        tracer.dtype = x.dtype
    run.tracer = tracer
    try:
        with running(tracer, Inputs((torch.empty(1, 1, 1),), {}, 0, ())) as result:
            found = [_output(tracer.current(value)) for value in flatten_result(result)]
    except BudgetnetError as error:
        # What the operator raised is its own, and what a rule raised is the rule's mistake; a rule
        # that takes other arguments refuses.
        own = error.__cause__
        if own is not None and (isinstance(error, ForwardError) or isinstance(own, _MISTAKES)):
            raise own from None
        raise
    return Predicted(
        found,
        any(row.global_context for row in tracer.rows) or any(out.context for out in found),
        sum(row.macs or 0 for row in tracer.rows),
        any(row.kind.startswith(("reflection_pad", "replication_pad")) for row in tracer.rows),
    )


def axis_sizes(x: Tensor, layout: str) -> tuple[int, ...]:
    """Sizes of the axes that claims are made along; a tensor of no dimension has one position."""
    return tuple(x.shape[2:] if layout.startswith("map") else x.shape) or (1,)


def _output(value: Any) -> Output:
    if not isinstance(value, Tensor):
        return Output((), None, _nothing, value)
    shape = tuple(value.shape)
    if not isinstance(value, Activation):
        return Output(shape, value.dtype, _nothing)
    reading, field = value.reading, value.field
    if reading is None:
        reading = Reading.of_map(shape, field)
    reading = reading.resolved()
    if reading.shape != shape and 0 not in shape:
        return Output(reading.shape, value.dtype, _nothing)  # which cannot be right
    return Output(shape, value.dtype, _reader(reading), context=reading.context > 0)


def _nothing(position: tuple[int, ...]) -> tuple[frozenset[int], ...]:
    return (frozenset(),)


def _reader(reading: Reading) -> Callable[[tuple[int, ...]], tuple[frozenset[int], ...]]:
    def reads(position: tuple[int, ...]) -> tuple[frozenset[int], ...]:
        places = [0] * len(reading.fields[0].axes)  # an axis without a factor has one place
        chosen: list[int] = []
        for index, dim in zip(position, reading.dims, strict=True):
            count = len(chosen)
            for axis, size in reversed(dim):
                index, part = divmod(index, size)
                if axis == CHANNEL:
                    chosen.insert(count, part)
                else:
                    places[axis] = part
        # Along a factor of one class nothing varies.
        at = tuple(min(k, n - 1) for k, n in zip(chosen, reading.classes.shape, strict=True))
        field = reading.fields[int(reading.classes[at])]
        return tuple(window.reads(i) for window, i in zip(field.axes, places, strict=True))

    return reads


# ---- the truth


@dataclass(slots=True)
class Truth:
    """What the real operator does: per output, which elements certainly and possibly are read."""

    outputs: list[Tensor]
    lower: list[Bools]  # (elements of the output, elements of the tensor)
    upper: list[Bools]
    shape_varies: bool


def find_truth(call: Call, place: int) -> Truth:
    """Change every element of a tensor in turn, several times, and see what changes with it."""
    x: Tensor = call.leaves[place]
    generator = torch.Generator().manual_seed(call.seed)
    outs = call.outputs(call.leaves)
    lower = [np.zeros((out.numel(), x.numel()), np.bool_) for out in outs]
    upper = [mask.copy() for mask in lower]
    truth = Truth(outs, lower, upper, shape_varies=False)
    order = torch.randperm(x.numel(), generator=generator)
    finite, poison = _replacements(x, generator)
    # Equal values are what comparisons and maxima turn on.
    alike = (leaf for leaf in call.leaves if isinstance(leaf, Tensor) and leaf is not x)
    finite += [y.flatten() for y in alike if (y.shape, y.dtype) == (x.shape, x.dtype)][:2]
    _watch(call, place, x, finite, (lower, upper), truth)
    _watch(call, place, x, poison, (upper,), truth)
    if not poison:  # nothing says that an element is not read
        upper = [np.ones_like(mask) for mask in lower]
        truth.upper = upper
    if x.numel() > 1:
        _watch(call, place, x.flatten()[order].reshape(x.shape), finite, (lower, upper), truth)
    return truth


def _watch(
    call: Call,
    place: int,
    base: Tensor,
    replacements: Sequence[Tensor],
    masks: Sequence[list[Bools]],
    truth: Truth,
) -> None:
    """Mark which elements of the outputs change with each element of the base."""
    before = _run(call, place, base, truth)
    again = _run(call, place, base, truth)
    if before is None or again is None:
        return
    steady = [~_differs(*pair) for pair in zip(before, again, strict=True)]
    for k, index in enumerate(np.ndindex(*base.shape)):
        for values in replacements:
            changed = base.clone()
            changed[index] = values[k]
            after = _run(call, place, changed, truth)
            for i, bits in enumerate(after or ()):
                moved = _differs(before[i], bits) & steady[i]
                for mask in masks:
                    mask[i][:, k] |= moved


def _run(call: Call, place: int, value: Tensor, truth: Truth) -> list[np.ndarray[Any, Any]] | None:
    """The bits of all outputs; `None` if the operator rejects the value, which proves nothing."""
    leaves = [*call.leaves[:place], value, *call.leaves[place + 1 :]]
    try:
        outs = call.outputs(leaves)
    except CannotRun:
        return None
    if [out.shape for out in outs] != [out.shape for out in truth.outputs]:
        truth.shape_varies = True
        return None
    return [_bits(out) for out in outs]


def _bits(out: Tensor) -> np.ndarray[Any, Any]:
    """An array `(elements, parts)` that compares as the bits do, with one NaN only."""
    out = out.detach().resolve_conj().resolve_neg()
    if out.is_complex():
        out = torch.view_as_real(out)
        parts = 2
    else:
        parts = 1
    if not out.is_floating_point():
        return out.reshape(-1, parts).numpy()
    values = (out if out.dtype == torch.float64 else out.float()).reshape(-1, parts).numpy()
    values = np.where(np.isnan(values), np.nan, values).astype(values.dtype)
    return values.view(np.int64 if values.itemsize == 8 else np.int32)


def _differs(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> Bools:
    return np.asarray((one != two).any(axis=1))


def _replacements(x: Tensor, generator: torch.Generator) -> tuple[list[Tensor], list[Tensor]]:
    """Other values for every element: valid ones, and ones that spoil everything they reach."""
    values, count = x.flatten(), x.numel()
    if x.dtype == torch.bool:
        return [~values], []
    if not x.is_floating_point() and not x.is_complex():
        # Indices are valid between those that are there; others could leave the memory.
        lowest, highest = (int(values.min()), int(values.max())) if count else (0, 0)
        bounds = (min(lowest, 0), max(highest, 0) + 1)
        drawn = [torch.randint(*bounds, (count,), generator=generator) for _ in range(3)]
        return [values.roll(1), values.roll(2), *(draw.to(x.dtype) for draw in drawn)], []
    kind = torch.float64 if not x.is_complex() else torch.complex128
    small = torch.rand(count, dtype=kind, generator=generator)
    wide = torch.randn(count, dtype=kind, generator=generator) * 3
    large = torch.full((count,), _LARGE, dtype=kind)
    finite = [small, wide, large, -large, large * 0, values.roll(1)]
    poison = [large * float("nan"), large * float("inf")]
    return [value.to(x.dtype) for value in finite], [value.to(x.dtype) for value in poison]


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is
    """Counts the products that some tensors take part in, by torch's own formulas."""

    def __init__(self, tracked: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is
        self.reached = {id(tensor): tensor for tensor in tracked}
        self.flops: int | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if any(id(leaf) in self.reached for leaf in pytree.tree_leaves((args, kwargs))):
            self.reached |= {id(leaf): leaf for leaf in pytree.tree_leaves(out)}
            if (formula := flop_registry.get(func._overloadpacket)) is not None:
                self.flops = (self.flops or 0) + formula(*args, **kwargs, out_val=out)
        return out


def count_macs(call: Call, places: Sequence[int]) -> int | None:
    """MACs of the products that these arguments take part in; `None` if torch counts none."""
    leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in call.leaves]
    with torch.no_grad(), _Products([leaves[place] for place in places]) as products:
        call(leaves)
    return None if products.flops is None else products.flops // 2


# ---- the comparison


def _compare(
    claim: Predicted, truth: Truth, x: Tensor, layout: str, macs: int | None
) -> tuple[str, str]:
    """Outcome and reason; the gravest of several mistakes, which a lesser one must not hide."""
    if truth.shape_varies:
        return "wrong", "the shape of an output depends on the values"
    if len(claim.outputs) != len(truth.outputs):
        return "wrong", f"outputs: {len(truth.outputs)}, not {len(claim.outputs)}"
    sizes = axis_sizes(x, layout)
    loose, beyond, unlike = "", False, ""
    for i, (said, real) in enumerate(zip(claim.outputs, truth.outputs, strict=True)):
        if said.shape != tuple(real.shape):
            return "wrong", f"output {i}: shape {tuple(real.shape)}, not {said.shape}"
        if reason := _unlike(said, real):
            unlike = unlike or f"output {i}: {reason}"
        claimed = _mask_of(said, sizes)
        outside = _mask_of(said, sizes, repeated=True) if claim.repeats else claimed
        lower, upper = (_over_axes(masks[i], x, sizes) for masks in (truth.lower, truth.upper))
        missed = lower & ~(claimed | outside)
        beyond |= bool((upper & ~claimed).any())
        if missed.any() and not claim.context:
            return "wrong", f"output {i} {_first(missed, real, sizes)}, which is not claimed"
        if (excess := claimed & ~upper).any():
            loose = loose or f"output {i} does not seem to {_first(excess, real, sizes)}"
    if macs is not None and claim.macs != macs:
        return "wrong", f"MACs: {macs}, not {claim.macs}"
    if unlike:
        return "wrong", unlike
    if not loose and claim.context and not beyond:
        loose = "context is claimed, and nothing beyond the windows is read"
    return ("loose", loose) if loose else ("right", "")


def _unlike(said: Output, real: Tensor) -> str:
    if said.dtype is None:
        same = said.number == real.item() or said.number != said.number
        return "" if same else f"{real.item()}, not {said.number}"
    return "" if said.dtype == real.dtype else f"type {real.dtype}, not {said.dtype}"


def _mask_of(said: Output, sizes: tuple[int, ...], repeated: bool = False) -> Bools:
    """What is claimed, as an array `(elements of the output, positions)`.

    Outside positions are none, or as `repeated` those that a padding may put there.
    """
    mask = np.zeros((prod(said.shape), *sizes), np.bool_)
    inside = _repeated if repeated else _inside
    for k, position in enumerate(np.ndindex(*said.shape)):
        reads = said.reads(position)
        if all(reads):  # nothing along one axis is nothing at all
            chosen = [inside(axis, n) for axis, n in zip(reads, sizes, strict=True)]
            mask[k][np.ix_(*chosen)] = True
    return mask.reshape(len(mask), prod(sizes))


def _inside(axis: frozenset[int], n: int) -> list[int]:
    return [i for i in axis if 0 <= i < n]


def _repeated(axis: frozenset[int], n: int) -> list[int]:
    """Positions inside, with the border and the mirrored places of those that are not."""
    mirrored = {-i if i < 0 else 2 * (n - 1) - i for i in axis if not 0 <= i < n}
    border = {min(max(i, 0), n - 1) for i in axis}
    return _inside(axis | mirrored | border, n)


def _over_axes(mask: Bools, x: Tensor, sizes: tuple[int, ...]) -> Bools:
    """A mask of elements as one of positions: any element at a position will do."""
    positions = prod(sizes)
    rest = x.numel() // max(positions, 1)
    return np.asarray(mask.reshape(len(mask), rest, positions).any(axis=1))


def _first(mask: Bools, out: Tensor, sizes: tuple[int, ...]) -> str:
    """The first entry of a mask, in words."""
    element, position = (int(i) for i in np.argwhere(mask)[0])
    here = np.unravel_index(element, tuple(out.shape)) if out.dim() else ()
    there = np.unravel_index(position, sizes)
    return f"at {tuple(map(int, here))} read {tuple(map(int, there))}"
