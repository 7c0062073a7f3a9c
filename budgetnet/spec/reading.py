"""Stages read back from the rows of an account: by what rows are and read, not by what made them.

Whatever is read is planned, and its rows are held against those of the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..errors import BudgetnetError, SpecError, explain
from .facts import ACTIVE, GATES, act_of, bias_of, difference, is_kept, no_word, plain, slides
from .fields import ACTIVATIONS
from .recognition import Gate, Piece, in_a_row, residuals, widened_dense
from .run import Run, link, stage_steps, unread
from .stage import Stage, named
from .stages import (
    AvgPool,
    BatchNorm,
    Classifier,
    Concat,
    Conv,
    DenseBlock,
    Dropout,
    Flatten,
    Head,
    Linear,
    Pool,
    PreactConv,
    SqueezeExcite,
    Sum,
    TransposedConv,
    Upsample,
)
from .text import parse
from .wiring import Item, Meeting, NoWord, Wiring

Found: TypeAlias = tuple[tuple[Stage, ...], tuple[str, ...]]


def stages_of(account: Account) -> Found:
    """The stages whose plan has the rows of an account, and what the network calls them.

    Raises:
        SpecError: there are none; the message names the first row that no word describes.
    """
    try:
        return _planned_from(account) if account.spec else _Reader(account).read()
    except NoWord as error:
        row = account.rows[error.place] if error.place < len(account.rows) else None
        name = account.name or "the network"
        where = f"row {error.place}, {row.path or row.kind} ({row.kind})" if row else "its totals"
        what = f"{name} has no spec: no word describes {where}: {error.reason}"
        remedy = "Budgets, reports and comparisons take the account as it is."
        raise SpecError(explain(what, remedy=remedy)) from None


def _planned_from(account: Account) -> Found:
    """What an account says that it was planned from: a saved one may have been edited."""
    pairs = named(parse(account.spec))
    run = _run(account, [stage for _, stage in pairs], lambda done: 0)
    _check_totals(account, run)
    return tuple(stage for _, stage in pairs), tuple(name for name, _ in pairs)


def _run(account: Account, stages: Sequence[Stage], place_of: Callable[[int], int]) -> Run:
    """All stages run; a `NoWord` is at the place that `place_of` gives for the rows so far."""
    run = Run(account.input_shape)
    for name, stage in named(stages):
        try:
            steps, _ = link(name, stage, run.shape[0], run.shape[1:])
            run.add(name, steps)
        except BudgetnetError as error:
            raise NoWord(place_of(sum(map(is_kept, run.rows))), str(error).rstrip(".")) from None
    return run


def _check_totals(account: Account, run: Run) -> None:
    """Raise `NoWord` unless stages that have run give the totals of an account."""
    if account.unused:
        reason = f"no operation reads its {', '.join(account.unused[:3])}"
        raise NoWord(len(account.rows), reason)
    local = [row.receptive_field for row in run.rows if not row.is_global]
    field = local[-1] if local else unread(account.input_shape)
    pairs = {
        "params": (sum(row.params for row in run.rows), account.params),
        "macs": (sum(row.macs or 0 for row in run.rows), account.macs),
        "output": (shape_text(run.shape), account.output_text),
        "receptive field": (field, account.receptive_field),
    }
    for what, (planned, given) in pairs.items():
        if planned != given:
            raise NoWord(len(account.rows), f"a plan gives {what} {planned}, the account {given}")


class _Reader:
    """One account, whose rows are told by their place; -1 is the input."""

    def __init__(self, account: Account) -> None:
        self.account, self.rows = account, account.rows

    def read(self) -> Found:
        """All stages with their names; raises `NoWord`."""
        account = self.account
        if len(account.input_shapes) > 1 or len(account.input_size) not in (0, 2):
            raise NoWord(0, "a spec has one input, of two axes or a vector")
        if not account.rows or len(account.output_shapes or ()) != 1:
            raise NoWord(len(account.rows), "a spec has one output, and a layer at least")
        self.wiring = Wiring(account.rows, account.input_shape)
        for place in range(len(account.rows)):
            shape = self.wiring.shape_of(self.wiring.sources[place][0])
            if place not in self.wiring.views and (reason := no_word(account.rows[place], shape)):
                raise NoWord(place, reason)
        pieces = self._folded(self._pieces(self.wiring.items(), -1))
        end = pieces[-1].end if pieces else -1
        if len(account.output_shape or ()) == 1 and not self._is_vector(end):
            pieces.append(Piece(Flatten(), (), end))
        if not pieces:
            raise NoWord(0, "a spec has a layer at least, and this gives its input back")
        stages = tuple(self._stage(piece) for piece in pieces)
        self._check(stages, tuple(place for piece in pieces for place in piece.places))
        return stages, self._names(pieces)

    # ------------------------------------------------------------------ one row

    def _is_vector(self, place: int) -> bool:
        place = self.wiring.operand(place)
        return len(self.wiring.shape_of(place)) == 1 or (place >= 0 and self.rows[place].is_global)

    def _next(self, items: Sequence[Item], at: int, *roles: str) -> int | None:
        """The row at a place of a chain if it has one of the roles."""
        item = items[at] if at < len(items) else None
        return item if isinstance(item, int) and self.rows[item].role in roles else None

    # ------------------------------------------------------------------ chains of rows

    def _pieces(self, items: Sequence[Item], start: int) -> list[Piece]:
        """The stages of a chain, one for each layer with its norm and activation."""
        found: list[Piece] = []
        at = 0
        while at < len(items):
            item, before = items[at], found[-1].end if found else start
            if isinstance(item, Meeting):
                piece = self._joined(item, items, at, before)
                at += 1 + (piece.places[-1] != item.place)  # an activation after a sum
            else:
                role = self.rows[item].role
                piece = self._single(item, items, at, before, found)
                at += len(piece.places)
                if role == "linear" and isinstance(piece.stage, Linear):
                    if not self._is_vector(before):
                        found.append(Piece(Flatten(), (), before))
                elif self._is_vector(before) and piece.stage.takes == "map":
                    raise NoWord(item, "it reads what is left after the whole map has been read")
            found.append(piece)
        return found

    def _single(
        self, item: int, items: Sequence[Item], at: int, before: int, found: list[Piece]
    ) -> Piece:
        """The stage that begins with a row, after those that have been found."""
        row = self.rows[item]
        if row.role == "convolution":
            return self._convolution(item, items, at, before, found)
        if row.role == "linear":
            return self._linear(item, items, at, before)
        if row.role == "batch norm" or row.role in ACTIVE:
            return self._preact(item, items, at, before)
        stage: Stage
        if row.role == "dropout":
            stage = Dropout()
        elif row.role == "max pooling":
            stage = Pool(*slides(row)[:3])
        elif row.role == "average pooling":
            stage = Head() if row.is_global else self._average(row, before)
        elif row.role == "transposed convolution":
            stage = TransposedConv(row.output_shape[0], *slides(row)[:3])
        elif row.role == "resizing":
            stage = self._resized(item, before)
        else:
            raise NoWord(item, "it joins a map with itself or with constants")
        return Piece(stage, (item,), before)

    def _convolution(
        self, item: int, items: Sequence[Item], at: int, before: int, found: list[Piece]
    ) -> Piece:
        """A convolution with the norm and activation that follow it."""
        norm = self._next(items, at + 1, "batch norm")
        act = self._next(items, at + 1 + (norm is not None), *ACTIVE)
        block = found[-2].stage if len(found) > 1 and _is_hard(found[-1].stage) else None
        if isinstance(block, Conv) and set(slides(self.rows[item])[0]) == {1}:
            # Only in a block is there such a gate: this is the linear projection after it.
            norm, act = norm if block.norm else None, None
        stage = self._conv(Conv, item, before, norm is not None, act)
        places = tuple(each for each in (item, norm, act) if each is not None)
        return Piece(stage, places, before)

    def _conv(
        self, kind: type[Conv | PreactConv], item: int, before: int, norm: bool, act: int | None
    ) -> Conv | PreactConv:
        row = self.rows[item]
        out, group_channels = row.weight_shape[:2]
        groups = self.wiring.shape_of(before)[0] // group_channels
        kernel, stride, padding, dilation = slides(row)
        return kind(
            out, kernel, stride, padding, dilation, groups, norm, self._act(act), bias_of(row, norm)
        )

    def _preact(self, item: int, items: Sequence[Item], at: int, before: int) -> Piece:
        """Norm and activation with the convolution after them, or alone."""
        norm = item if self.rows[item].role == "batch norm" else None
        after = at + (norm is not None)
        act = self._next(items, after, *ACTIVE)
        after += act is not None
        conv = self._next(items, after, "convolution")
        if norm is not None and self._next(items, after + 1, *ACTIVE) is not None:
            conv = None  # it goes with the activation after it
        places = tuple(each for each in (norm, act, conv) if each is not None)
        if conv is not None:
            return Piece(
                self._conv(PreactConv, conv, before, norm is not None, act), places, before
            )
        if norm is None:
            raise NoWord(item, "no word stands for an activation apart from a layer and from a sum")
        return Piece(BatchNorm(self._act(act)), places, before)

    def _linear(self, item: int, items: Sequence[Item], at: int, before: int) -> Piece:
        row = self.rows[item]
        norm = self._next(items, at + 1, "batch norm")
        act = self._next(items, at + 1 + (norm is not None), *ACTIVE)
        places = tuple(each for each in (item, norm, act) if each is not None)
        out = row.weight_shape[0]
        if norm is None and act is None:
            return Piece(Classifier(out, None if row.has_bias else False), places, before)
        bias = bias_of(row, norm is not None)
        return Piece(Linear(out, norm is not None, self._act(act), bias), places, before)

    def _act(self, place: int | None) -> str | None:
        """The activation of a row by its name in specs."""
        if place is None:
            return None
        if (act := act_of(self.rows[place])) is None:
            known = ", ".join(ACTIVATIONS)
            raise NoWord(place, f"the activations of specs are {known}")
        return act

    def _average(self, row: Row, before: int) -> Stage:
        if row.sliding is not None:
            return AvgPool(*slides(row)[:3])
        size = self.wiring.shape_of(before)[1:]  # an adaptive one, of equal parts
        return AvgPool(tuple(n // m for n, m in zip(size, row.output_shape[1:], strict=True)))

    def _resized(self, item: int, before: int) -> Stage:
        scale = self.rows[item].output_shape[1] // self.wiring.shape_of(before)[1]
        stages = [Upsample(scale, mode) for mode in ("nearest", "bilinear")]
        field = self.rows[item].receptive_field
        return next((s for s in stages if self._planned(s, before)[-1].receptive_field == field),
                    stages[0])  # fmt: skip

    # ------------------------------------------------------------------ branches

    def _joined(self, meeting: Meeting, items: Sequence[Item], at: int, before: int) -> Piece:
        """The stage of branches and their join."""
        place = meeting.place
        kind = self.rows[place].kind
        if kind == "mul" and (gate := self._gate(meeting, before)):
            return gate
        branches = [self._pieces(branch, before) for branch in meeting.branches]
        try:
            if kind == "add" and len(branches) == 2:
                act = self._next(items, at + 1, *ACTIVE)
                return self._sum(place, branches, act, before)
            if kind == "cat":
                return self._concat(place, branches, before)
        except SpecError as error:
            raise NoWord(place, str(error).rstrip(".")) from None
        what = "product" if kind == "mul" else "join of this kind"
        raise NoWord(place, f"no word stands for a {what} but sum, concatenation, squeeze-excite")

    def _gate(self, meeting: Meeting, before: int) -> Piece | None:
        """Squeeze-excite, if that is what the branches are."""
        branch = max(meeting.branches, key=len)
        if len(meeting.branches) > 2 or not all(isinstance(item, int) for item in branch):
            return None
        places = [item for item in branch if isinstance(item, int)]
        roles = [self.rows[place].role for place in places]
        act = places.pop(2) if len(roles) == 5 and roles.pop(2) in ACTIVE else None
        if roles != ["average pooling", "convolution", "convolution", "squashing"]:
            return None
        pool, reduce, _, gate = places
        is_hard = GATES.get(plain(self.rows[gate].kind))
        if is_hard is None or not self.rows[pool].is_global:
            return None
        inner = self._act(act)
        found = Gate(self.rows[reduce].output_shape[0], inner, is_hard)
        order = tuple(item for item in branch if isinstance(item, int))
        return Piece(found, (*order, meeting.place), before)

    def _sum(self, place: int, branches: list[list[Piece]], act: int | None, before: int) -> Piece:
        body, shortcut = sorted(branches, key=_count, reverse=True)  # the first of equal ones
        places = (*_places(body), *_places(shortcut), place)
        if act is not None:
            places = (*places, act)
        for stage in residuals(body, self._act(act), self.wiring.shape_of(before)[0]):
            if self._agrees(stage, places, before):
                return Piece(stage, places, before)
        made = Sum(self._folded_stages(body), self._folded_stages(shortcut), self._act(act))
        return Piece(made, places, before)

    def _concat(self, place: int, branches: list[list[Piece]], before: int) -> Piece:
        places = (*(each for branch in branches for each in _places(branch)), place)
        dense = widened_dense(branches)
        if dense is not None and self._agrees(dense, places, before):
            return Piece(dense, places, before)
        return Piece(Concat(tuple(map(self._folded_stages, branches))), places, before)

    # ------------------------------------------------------------------ pieces made one

    def _folded(self, pieces: list[Piece]) -> list[Piece]:
        """Pieces in a row as the one stage that they make, where there is one."""
        found: list[Piece] = []
        at = 0
        while at < len(pieces):
            piece, count = self._block(pieces, at)
            at += count
            last = found.pop() if found else None
            if last is not None and (both := _joined(last.stage, piece.stage)):
                piece = Piece(both, (*last.places, *piece.places), last.before)
            elif last is not None:
                found.append(last)
            found.append(piece)
        return found

    def _block(self, pieces: list[Piece], at: int) -> tuple[Piece, int]:
        """The block that begins at a piece, and how many pieces it is made of."""
        before = pieces[at].before
        for count in (4, 3, 2):
            row = pieces[at : at + count]
            has_gate = any(isinstance(piece.stage, Gate) for piece in row)
            is_head = pieces[at + count : at + count + 1] and pieces[at + count].stage == Head()
            if len(row) == count and (has_gate or not is_head):
                places = tuple(_places(row))
                for stage in in_a_row(row, self.wiring.shape_of(before)[0]):
                    if self._agrees(stage, places, before):
                        return Piece(stage, places, before), count
        return pieces[at], 1

    def _stage(self, piece: Piece) -> Stage:
        """The stage of a piece that has become part of no other."""
        if isinstance(piece.stage, Stage):
            return piece.stage
        if _is_hard(piece.stage):
            reason = "outside of a block, squeeze-excite has a sigmoid as its gate"
            raise NoWord(piece.places[-2], reason)
        return SqueezeExcite(piece.stage.squeezed, piece.stage.act)

    def _folded_stages(self, pieces: list[Piece]) -> tuple[Stage, ...]:
        return tuple(map(self._stage, self._folded(pieces)))

    # ------------------------------------------------------------------ held against the account

    def _planned(self, stage: Stage, before: int) -> list[Row]:
        field = self.rows[before].receptive_field if before >= 0 else None
        shape = self.wiring.shape_of(before)
        run = Run(shape, field=field)
        run.add("", stage_steps(stage, shape[0]))
        return run.rows

    def _agrees(self, stage: Stage, places: Sequence[int], before: int) -> bool:
        """Whether the plan of one stage has the rows at these places."""
        try:
            self._compare(self._planned(stage, before), places, before)
        except (BudgetnetError, NoWord):
            return False
        return True

    def _check(self, stages: tuple[Stage, ...], places: Sequence[int]) -> None:
        """Raise `NoWord` unless the plan of all stages is the account."""
        run = _run(self.account, stages, lambda done: places[min(done, len(places) - 1)])
        self._compare(run.rows, places, -1)
        _check_totals(self.account, run)

    def _compare(self, planned: Sequence[Row], places: Sequence[int], before: int) -> None:
        """Raise `NoWord` at the first row that a plan has otherwise."""
        kept = [place for place in places if self.rows[place].role != "dropout"]
        ahead = iter(kept)
        at: list[int] = []  # of every planned row, the place in the account
        for row in planned:
            reads = tuple(at[read] if read >= 0 else before for read in row.reads)
            if not is_kept(row):
                at.append(reads[0])
                continue
            place = next(ahead, None)
            if place is None:
                raise NoWord(kept[-1], f"a plan has a {row.kind} after it")
            at.append(place)
            if self.wiring.combined(row, reads) != self.wiring.operands[place]:
                raise NoWord(place, "a plan reads other rows")
            if reason := difference(row, self.rows[place]):
                raise NoWord(place, reason)
        for place in ahead:
            raise NoWord(place, "a plan does not have it")

    # ------------------------------------------------------------------ names

    def _names(self, pieces: Sequence[Piece]) -> tuple[str, ...]:
        """What the network calls its stages: a module that is one, or the first row."""
        sizes = Counter(above for row in self.rows for above in _above(row.path))
        found = [self._name(piece, sizes) for piece in pieces]
        counts, turn = Counter(found), Counter[str]()
        names = []
        for name in found:  # functional operations of one module are told by their turn
            turn[name] += 1
            names.append(f"{name} ({turn[name]})" if counts[name] > 1 else name)
        return tuple(names)

    def _name(self, piece: Piece, sizes: Counter[str]) -> str:
        if not piece.places:
            return type(piece.stage).__name__.lower()
        rows = [self.rows[place] for place in piece.places]
        own = Counter(above for row in rows for above in _above(row.path))
        whole = [path for path, n in own.items() if n == len(rows) and self._is_all(path, n, sizes)]
        return min(whole, key=len) if whole else rows[0].path or rows[0].kind

    def _is_all(self, path: str, count: int, sizes: Counter[str]) -> bool:
        """Whether a module has no other rows than views beside `count` of them."""
        if sizes[path] == count:
            return True
        views = sum(path in _above(self.rows[place].path) for place in self.wiring.views)
        return sizes[path] == count + views


def _places(pieces: Sequence[Piece]) -> Iterator[int]:
    return (place for piece in pieces for place in piece.places)


def _count(pieces: Sequence[Piece]) -> int:
    return sum(len(piece.places) for piece in pieces)


def _above(path: str) -> tuple[str, ...]:
    """A path and those of the modules around it, the model itself left out."""
    parts = path.split(".") if path else []
    return tuple(".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _is_hard(stage: object) -> bool:
    return isinstance(stage, Gate) and stage.is_hard


def _joined(one: object, two: object) -> Stage | None:
    """Two stages in a row as one: a head with its classifier, a longer dense block."""
    if two == Head() and isinstance(one, Conv):
        is_classifier = one == Conv(one.out_channels, (1, 1), norm=one.norm, act=None)
        return Head(one.out_channels, one.norm) if is_classifier else None
    if isinstance(one, DenseBlock) and isinstance(two, DenseBlock):
        longer = replace(one, num_layers=one.num_layers + two.num_layers)
        return longer if replace(two, num_layers=longer.num_layers) == longer else None
    return None
