"""Mistakes of receptive fields worked out by hand, each as a recurrence that gives what was wrong.

By hand one goes from layer to layer with a field r and a jump j, along each axis: a kernel k with
stride s and dilation d gives r + (k - 1) * d * j, and from then on the jump j * s. A mistake does
another thing in one layer, or in every one that it applies to, and goes on from there. Which was
made is told by running them all: those that give the column as it was written are the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from .account import Account
from .roles import POOLING
from .rows import Row, layer_paths

Size = int | Fraction


class State(NamedTuple):
    """Along one axis: the number that is written, and the field and jump to go on with."""

    written: Size
    field: Size
    jump: Size


class Step(NamedTuple):
    """A layer along one axis, as one would take it by hand."""

    kind: str  # "conv", "pool", "join", "global" for what reads the whole map, or "" without kernel
    kernel: int
    stride: int
    dilation: int
    padding: int  # of both sides
    size: int  # of the map before it
    out: int  # of the map after it
    whole: int  # of the input; 0 if there are several
    fields: tuple[Size, ...]  # of all that it reads

    def right(self, field: Size, jump: Size) -> State:
        """What is right; the read of a whole map is not counted."""
        if self.kind == "global":
            return State(field, field, jump)
        more = field + (self.kernel - 1) * self.dilation * jump
        return State(more, more, jump * self.stride)


class Mistake(NamedTuple):
    """One mistake; `text` says it of a layer, for which `{layer}`, `{stride}` and so on stand."""

    name: str
    text: str
    applies: Callable[[Step], bool]
    gives: Callable[[Step, Size, Size], State]


def _goes_on(
    change: Callable[[Step, Size, Size], Size], *, carries: bool = True
) -> Callable[[Step, Size, Size], State]:
    """A wrong field that one goes on with; the jump takes the stride in, if it is carried."""

    def gives(step: Step, field: Size, jump: Size) -> State:
        wrong = change(step, field, jump)
        return State(wrong, wrong, jump * step.stride if carries else jump)

    return gives


def _slides(step: Step) -> bool:
    return step.kind in ("conv", "pool")


def _sees_more(step: Step) -> bool:
    return _slides(step) and step.kernel > 1


def _is_global(step: Step) -> bool:
    return step.kind == "global"


def _grown(step: Step, field: Size, jump: Size) -> Size:
    return step.right(field, jump).field


def _writes(change: Callable[[Step, State], Size]) -> Callable[[Step, Size, Size], State]:
    """Another number that is written, while one goes on with what is right."""

    def gives(step: Step, field: Size, jump: Size) -> State:
        right = step.right(field, jump)
        return right._replace(written=change(step, right))

    return gives


_DOUBLED = "{layer} multiplies the field by its stride {stride}; it adds (kernel - 1) * jump"
_PADDED = "the padding of {layer} is given credit; padding adds no positions of the input"
_ONE = "{layer} is given credit, but it sees one position: (1 - 1) * jump is 0"
_GLOBAL = (
    "{layer} is counted, which reads the whole map; the field quoted is that of the map before"
)

MISTAKES = (
    Mistake("stride not carried", "the stride {stride} of {layer} is not carried on",
            lambda s: _slides(s) and s.stride > 1,
            lambda s, r, j: State(_grown(s, r, j), _grown(s, r, j), j)),
    Mistake("own stride counted", "{layer} counts with its own stride {stride}, which only the "
            "layers after it see", lambda s: _sees_more(s) and s.stride > 1,
            _goes_on(lambda s, r, j: r + (s.kernel - 1) * s.dilation * j * s.stride)),
    *(Mistake("pooling doubled the field", _DOUBLED, lambda s: s.kind == "pool" and s.stride > 1,
              _goes_on(lambda s, r, j: r * s.stride, carries=carries))
      for carries in (True, False)),
    *(Mistake("stride multiplied the field", _DOUBLED,
              lambda s: s.kind == "conv" and s.stride > 1,
              _goes_on(lambda s, r, j: _grown(s, r, j) * s.stride, carries=carries))
      for carries in (True, False)),
    *(Mistake("pooling divided the field", "{layer} divides the field by its stride {stride}, as "
              "it does the map", lambda s: s.kind == "pool" and s.stride > 1,
              _goes_on(lambda s, r, j: Fraction(r) / s.stride, carries=carries))
      for carries in (True, False)),
    *(Mistake("layer left out", "{layer} is left out: the field before it is written again",
              _sees_more, _goes_on(lambda s, r, j: r, carries=carries))
      for carries in (True, False)),
    Mistake("whole kernel counted", "{layer} counts its whole kernel {kernel}, where kernel - 1 is "
            "added", _sees_more, _goes_on(lambda s, r, j: r + s.kernel * s.dilation * j)),
    *(Mistake("1x1 given credit", _ONE, lambda s: s.kind == "conv" and s.kernel == 1,
              _goes_on(change))
      for change in (lambda s, r, j: r + j, lambda s, r, j: r + 2 * j, lambda s, r, j: r + 1)),
    *(Mistake("layer without a kernel given credit", _ONE, lambda s: s.kind == "",
              _goes_on(change))
      for change in (lambda s, r, j: r + j, lambda s, r, j: r + 2 * j, lambda s, r, j: r + 1)),
    Mistake("dilation ignored", "the dilation {dilation} of {layer} is ignored",
            lambda s: _sees_more(s) and s.dilation > 1,
            _goes_on(lambda s, r, j: r + (s.kernel - 1) * j)),
    Mistake("dilation of the whole kernel", "{layer} counts dilation * kernel - 1, where "
            "dilation * (kernel - 1) is added", lambda s: _sees_more(s) and s.dilation > 1,
            _goes_on(lambda s, r, j: r + (s.dilation * s.kernel - 1) * j)),
    *(Mistake("padding given credit", _PADDED, lambda s: _slides(s) and s.padding > 0,
              _goes_on(change))
      for change in (lambda s, r, j: _grown(s, r, j) + s.padding * j,
                     lambda s, r, j: _grown(s, r, j) + s.padding)),
    Mistake("padding taken off", "the padding of {layer} is taken off the field",
            lambda s: _slides(s) and s.padding > 0,
            _goes_on(lambda s, r, j: _grown(s, r, j) - s.padding * j)),
    Mistake("global read counted", _GLOBAL, _is_global,
            _goes_on(lambda s, r, j: r + (s.size - 1) * j)),
    Mistake("global read counted", _GLOBAL, lambda s: _is_global(s) and s.whole > 0,
            _goes_on(lambda s, r, j: s.whole)),
    Mistake("branches added up", "the fields of the branches that meet in {layer} are added; the "
            "largest counts", lambda s: s.kind == "join",
            _goes_on(lambda s, r, j: sum(s.fields))),
    Mistake("smaller branch taken", "the smaller field of the branches that meet in {layer} is "
            "taken; the largest counts", lambda s: s.kind == "join",
            _goes_on(lambda s, r, j: min(s.fields))),
    Mistake("jump written", "the jump of {layer} is written, not its field", _slides,
            _writes(lambda s, right: right.jump)),
    Mistake("map size written", "the size of the map after {layer} is written, not its field",
            lambda s: s.out > 0, _writes(lambda s, right: s.out)),
)  # fmt: skip
START = Mistake(
    "started from 0", "the input is given the field 0; one position sees itself, which is 1",
    lambda s: False, lambda s, r, j: State(r, r, j),
)  # fmt: skip
Given = Mapping[int, Sequence[int]]  # by row of the account: a number for each axis


class Explanation(NamedTuple):
    """A mistake that gives a column, from its first wrong row back.

    Attributes:
        mistake: what was done.
        row: of the account, where it was done first; -1 for the input.
        text: the mistake in words.
        explained: rows of the account whose number it gives, right ones too.
    """

    mistake: str
    row: int
    text: str
    explained: frozenset[int]


def right_column(account: Account) -> list[tuple[int, ...] | None]:
    """The field that is quoted for every row of an account; `None` if it is unknown.

    Of a row that reads the whole map, it is that of the map which it reads.
    """
    column: list[tuple[int, ...] | None] = []
    for row in account.rows:
        before = [column[i] for i in row.reads if i >= 0]
        field = row.receptive_field.size if row.receptive_field else None
        if row.is_global and before:
            field = None if None in before else max(filter(None, before))
        column.append(field)
    return column


def explanations(account: Account, given: Given, first: int) -> list[Explanation]:
    """The mistakes that give a column whose first wrong row is `first`: those that give most of it.

    They give every row up to the first wrong one, as it is written. Empty if none that is known
    here does.
    """
    axes = len(next(iter(given.values()), ()))
    columns = [_Column(account, axis) for axis in range(axes)]
    found: dict[tuple[str, int], Explanation] = {}
    for mistake, places in _scopes(columns[0], first, given) if columns else ():
        runs = [column.run(mistake, places, first) for column in columns]
        if not _gives(runs, {i: n for i, n in given.items() if i <= first}):
            continue
        runs = [column.run(mistake, places, len(account.rows) - 1) for column in columns]
        explained = frozenset(i for i in given if _gives(runs, {i: given[i]}))
        cause = -1
        if mistake is not START:
            cause = min(c.departure(run) for c, run in zip(columns, runs, strict=True))
        made = Explanation(mistake.name, cause, _said(mistake, account, cause), explained)
        known = found.get(made[:2])
        if known is None or len(known.explained) < len(explained):
            found[made[:2]] = made
    most = max((len(one.explained) for one in found.values()), default=0)
    best = [one for one in found.values() if len(one.explained) == most]
    return [one for one in best if one.row in (-1, *given)] or best  # in a row that is written


def _gives(runs: Sequence[Sequence[State | None]], given: Given) -> bool:
    """Whether the runs along all axes write these numbers."""
    return all(
        (state := run[i]) is not None and state.written == number
        for i, numbers in given.items()
        for run, number in zip(runs, numbers, strict=True)
    )


def _scopes(column: _Column, first: int, given: Given) -> Iterator[tuple[Mistake, frozenset[int]]]:
    """Every mistake in every layer up to a row, in all that it applies to, and in those written."""
    yield START, frozenset({-1})
    for mistake in MISTAKES:
        places = [
            i for i, step in enumerate(column.steps)
            # Norms and the like that no row is about are part of the layer before them.
            if step and (step.kind or i in given) and mistake.applies(step)
        ]  # fmt: skip
        yield mistake, frozenset(places)
        if written := [i for i in places if i in given]:
            yield mistake, frozenset(written)
        yield from ((mistake, frozenset({i})) for i in places if i <= first and len(places) > 1)


def _said(mistake: Mistake, account: Account, place: int) -> str:
    row = account.rows[max(place, 0)]
    sliding = row.sliding
    facts = {
        name: (values[0] if len(set(values)) == 1 else "x".join(map(str, values)))
        for name in ("kernel", "stride", "dilation")
        if sliding and (values := getattr(sliding, name))
    }
    return mistake.text.format(layer=layer_name(account, max(place, 0)), **facts)


def layer_name(account: Account, place: int) -> str:
    """What people call a row: the layer that it is part of."""
    row = account.rows[place]
    return layer_paths(account.rows).get(row.path) or row.path or row.kind


class _Column:
    """The recurrence of an account along one axis, right and wrong."""

    def __init__(self, account: Account, axis: int) -> None:
        """Take the layers apart; `None` stands for those that no recurrence here is right for."""
        self.rows, self.axis = account.rows, axis
        self.whole = account.input_size[axis] if axis < len(account.input_size) else 0
        self.steps: list[Step | None] = []
        self.right: list[State | None] = []
        column = right_column(account)
        for i, row in enumerate(self.rows):
            self.steps.append(self._step(row))
            state = self._next(self.right, i, None)
            size = column[i]
            is_right = state and size and axis < len(size) and state.field == size[axis]
            self.right.append(state if is_right else None)
            if not is_right:
                self.steps[i] = None

    def _step(self, row: Row) -> Step:
        before = self.rows[row.reads[0]].output_shape if row.reads and row.reads[0] >= 0 else ()
        size = (before[1:] or (self.whole,) * 3)[self.axis : self.axis + 1]
        out = row.output_shape[1:][self.axis : self.axis + 1]
        size, out = size or (0,), out or (0,)
        plain = (1, 1, 1, 0, size[0], out[0], self.whole, ())
        if row.is_global:
            enters = not any(i >= 0 and self.rows[i].is_global for i in row.reads)
            return Step("global" if enters else "after", *plain)
        if row.sliding is not None and (row.role == "convolution" or row.role in POOLING):
            kind, axis, slides = "pool" if row.role in POOLING else "conv", self.axis, row.sliding
            return Step(kind, slides.kernel[axis], slides.stride[axis], slides.dilation[axis],
                        sum(slides.padding[axis]), *plain[4:])  # fmt: skip
        return Step("join" if len(set(row.reads)) > 1 else "", *plain)

    def _next(self, states: Sequence[State | None], i: int, mistake: Mistake | None,
              start: Size = 1) -> State | None:  # fmt: skip
        """The state after row i; `None` if that of a row before it is not known."""
        step = self.steps[i]
        reads = [State(start, start, 1) if k < 0 else states[k] for k in self.rows[i].reads]
        known = [state for state in reads if state is not None]
        if step is None or not reads or len(known) < len(reads):
            return None
        largest = max(known, key=lambda state: state.field)
        if mistake is None:
            return step.right(largest.field, largest.jump)
        step = step._replace(fields=tuple(state.field for state in known))
        return mistake.gives(step, largest.field, largest.jump)

    def run(self, mistake: Mistake, places: frozenset[int], last: int) -> list[State | None]:
        """The states up to a row, with a mistake in some places."""
        first = min(places, default=0)
        states, start = list(self.right[: max(first, 0)]), int(-1 not in places)
        for i in range(len(states), last + 1):
            states.append(self._next(states, i, mistake if i in places else None, start))
        return states

    def departure(self, states: Sequence[State | None]) -> int:
        """The first row whose state is not the right one."""
        return next((i for i, state in enumerate(states) if state != self.right[i]), 0)
