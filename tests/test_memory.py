"""Plans of memory: against brute force, against each other, and against the runtimes' own code."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetnet.accounting.device.least_plan import least_plan
from budgetnet.accounting.device.memory import (
    Buffer,
    Plan,
    aligned,
    executorch_plan,
    first_fit,
    live_bytes,
    liveness_bound,
    tflm_plan,
)
from budgetnet.accounting.device.order import MemoryGraph, least_order
from budgetnet.errors import ArgumentError

UNIT = 16


@st.composite
def buffer_lists(draw, most=40, steps=20, size=400):
    spans = st.tuples(st.integers(0, size), st.integers(0, steps), st.integers(0, 5))
    return [
        Buffer(n, first, first + more) for n, first, more in draw(st.lists(spans, max_size=most))
    ]


def fits(buffers, height, offsets=()):
    """Whether any offsets put these buffers into so many units: all are tried, one by one."""
    i = len(offsets)
    if i == len(buffers):
        return True
    size = buffers[i].bytes // UNIT
    free = [(offsets[j], buffers[j]) for j in range(i) if buffers[j].meets(buffers[i])]
    return any(
        all(at >= low + b.bytes // UNIT or low >= at + size for low, b in free)
        and fits(buffers, height, (*offsets, at))
        for at in range(height - size + 1)
    )


def test_sizes_are_rounded_up_to_16():
    assert [0, 16, 16, 16, 32] == [aligned(n) for n in (0, 1, 15, 16, 17)]
    assert 112 == Plan((Buffer(100, 0, 0),), (0,)).size


@pytest.mark.parametrize(
    ("values", "said"),
    [((-1, 0, 0), "size -1"), ((1, 2, 1), "first 2, last 1"), ((1.0, 0, 1), "1.0 is not a valid")],
)
def test_what_is_no_buffer_is_refused(values, said):
    with pytest.raises(ArgumentError, match=said):
        Buffer(*values)


def test_tflm_takes_the_later_of_equals_first():
    equal = [Buffer(16, 0, 1), Buffer(16, 0, 1), Buffer(16, 1, 2)]
    assert (32, 16, 0) == tflm_plan(equal).offsets
    # 16 bytes between two others are a gap; the first that holds it counts.
    assert (0, 48, 32) == tflm_plan([Buffer(32, 0, 3), Buffer(16, 0, 0), Buffer(16, 0, 1)]).offsets


def test_tflm_puts_others_around_fixed_offsets():
    buffers = [Buffer(32, 0, 1), Buffer(16, 0, 1), Buffer(64, 1, 1)]
    assert (16, 0, 48) == tflm_plan(buffers, [16, None, None]).offsets
    assert ((0, 1),) == tflm_plan(buffers, [0, 16, 64]).clashes()
    with pytest.raises(ArgumentError, match="buffers 3, fixed 1"):
        tflm_plan(buffers, [0])


@given(buffer_lists())
def test_plans_are_valid_and_the_least_is_the_smallest(buffers):
    bound, least = liveness_bound(buffers), least_plan(buffers, seconds=2)
    plans = [tflm_plan(buffers), executorch_plan(buffers), first_fit(buffers, range(len(buffers)))]
    for plan in (least.plan, *plans):
        assert () == plan.clashes()
        assert bound <= least.bound <= least.plan.size <= plan.size
        assert plan.size <= sum(b.bytes for b in buffers)
    assert least.proven == (least.gap == 0)


@given(buffer_lists())
def test_live_bytes_are_those_of_each_step(buffers):
    live = live_bytes(buffers)
    for step, total in live.items():
        assert total == sum(b.bytes for b in buffers if b.first <= step <= b.last)
    every = [sum(b.bytes for b in buffers if b.first <= t <= b.last) for t in range(30)]
    assert max(every) == liveness_bound(buffers)


@given(buffer_lists())
def test_clashes_are_pairs_that_share_a_step_and_a_byte(buffers):
    offsets = [random.Random(i).randrange(0, 200, 8) for i in range(len(buffers))]
    plan = Plan(tuple(buffers), tuple(offsets))
    taken = [
        {(t, x) for t in range(b.first, b.last + 1) for x in range(at, at + b.bytes, 8)}
        for b, at in zip(buffers, offsets, strict=True)
    ]
    pairs = itertools.combinations(range(len(buffers)), 2)
    assert tuple((i, j) for i, j in pairs if taken[i] & taken[j]) == plan.clashes()


@settings(max_examples=60)
@given(buffer_lists(most=6, steps=4, size=60))
def test_no_offsets_at_all_are_better_than_the_least_plan(buffers):
    found = least_plan(buffers)
    assert found.proven
    buffers = sorted((b for b in buffers if b.size), key=lambda b: -b.bytes)  # it ends sooner so
    height = found.plan.size // UNIT
    assert fits(buffers, height)
    assert not height or not fits(buffers, height - 1)


# The smallest that a search at random found: no step has more than 8 units, and no plan fits 8.
ABOVE = [
    (3, 3, 5), (4, 5, 5), (1, 1, 2), (1, 2, 4), (1, 3, 4), (1, 4, 5), (4, 0, 1), (2, 0, 4),
    (1, 1, 2), (2, 0, 0), (1, 2, 3), (2, 2, 2),
]  # fmt: skip


def test_a_bound_that_no_plan_reaches_is_raised_by_proof():
    buffers = [Buffer(UNIT * size, first, last) for size, first, last in ABOVE]
    found = least_plan(buffers)
    assert (8 * UNIT, 9 * UNIT, 9 * UNIT) == (
        liveness_bound(buffers), found.bound, found.plan.size,
    )  # fmt: skip
    order = sorted(buffers, key=lambda b: (-b.bytes, b.first))  # the large ones first: it is faster
    assert not fits(order, 8)


def crowded(random, steps, height, largest):
    """Buffers that fill every step to one height, which makes planning hard."""
    load, buffers = [0] * steps, []
    while min(load) < height:
        first = random.randrange(steps)
        last = min(steps - 1, first + random.randrange(steps))
        room = min(largest, height - max(load[first : last + 1]))
        if room > 0:
            size = random.randint(1, room)
            buffers.append(Buffer(UNIT * size, first, last))
            load[first : last + 1] = [n + size for n in load[first : last + 1]]
    return buffers


def test_a_search_that_runs_out_of_time_says_how_far_it_may_be_off():
    buffers = crowded(random.Random(3), 40, 60, 20)
    found = least_plan(buffers, seconds=0)
    assert () == found.plan.clashes()
    assert not found.proven
    assert found.gap == found.plan.size - liveness_bound(buffers) > 0
    assert least_plan(buffers, seconds=1).plan.size <= found.plan.size


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=80))
def test_a_chain_needs_what_is_live_at_once(sizes):
    chain = [Buffer(n, max(i - 1, 0) + (i > 0), i + 1) for i, n in enumerate(sizes)]
    found = least_plan(chain)
    pairs = [aligned(a) + aligned(b) for a, b in itertools.pairwise(sizes)]
    assert max(pairs) == found.plan.size == found.bound


@st.composite
def graphs(draw, most=6):
    """Operators that read earlier buffers; some have two results, some need scratch."""
    sizes = draw(st.lists(st.integers(1, 200), min_size=1, max_size=2))
    inputs, reads, writes = tuple(range(len(sizes))), [], []
    for _ in range(draw(st.integers(1, most))):
        earlier = st.integers(max(0, len(sizes) - 5), len(sizes) - 1)
        reads.append(tuple(draw(st.lists(earlier, min_size=1, max_size=3))))
        new = draw(st.lists(st.integers(1, 200), min_size=1, max_size=2))
        writes.append(tuple(range(len(sizes), len(sizes) + len(new))))
        sizes += new
    outputs = {len(sizes) - 1, draw(st.integers(0, len(sizes) - 1))}
    scratch = draw(st.sampled_from([(), tuple((50,) if i % 2 else () for i in range(len(reads)))]))
    sizes += draw(st.lists(st.integers(1, 900), max_size=1))  # that nothing uses
    return MemoryGraph(
        tuple(sizes), tuple(reads), tuple(writes), inputs, tuple(sorted(outputs)), scratch
    )


@settings(max_examples=60)
@given(graphs())
def test_no_order_at_all_is_better_than_the_least(graph):
    found, peaks = least_order(graph), []
    for order in itertools.permutations(range(len(graph.reads))):
        try:
            peaks.append(liveness_bound(graph.buffers(order)))
        except ArgumentError:  # an operator would run before what it reads
            continue
    assert found.proven
    assert min(peaks) == found.peak == liveness_bound(graph.buffers(found.order))


def test_an_order_that_is_as_good_is_kept():
    graph = MemoryGraph((16,) * 4, ((0,), (0,), (1, 2)), ((1,), (2,), (3,)), (0,), (3,))
    assert (0, 1, 2) == least_order(graph).order


def test_a_wide_network_is_not_searched_for_ever():
    reads = [(0,)] * 60 + [tuple(range(1, 61))]
    sizes = (16, *range(100, 1060, 16), 16)
    graph = MemoryGraph(sizes, tuple(reads), tuple((i,) for i in range(1, 62)), (0,), (61,))
    found = least_order(graph, seconds=0.5)
    assert found.bound <= found.peak <= liveness_bound(graph.buffers())


@pytest.mark.parametrize(
    ("order", "said"),
    [((0,), "name every operator once"), ((1, 0), "operator 1 reads a buffer that is not written")],
)
def test_what_is_no_order_is_refused(order, said):
    graph = MemoryGraph((16, 16, 16), ((0,), (1,)), ((1,), (2,)), (0,), (2,))
    with pytest.raises(ArgumentError, match=said):
        graph.buffers(order)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            ((16,), ((0,),), ((1,),), (0,), ()),
            r"names a buffer without size \(index 1, buffers 1\)",
        ),
        (((16,), ((0,),), (), (0,), ()), "reads 1, writes 0, scratch 0"),
    ],
)
def test_a_graph_whose_parts_do_not_fit_is_refused(parts, said):
    with pytest.raises(ArgumentError, match=said):
        MemoryGraph(*parts)


def test_a_graph_that_writes_twice_is_refused():
    with pytest.raises(ArgumentError, match="operator 1 writes a buffer that is written already"):
        MemoryGraph((16, 16), ((0,), (0,)), ((1,), (1,)), (0,), (1,))


@pytest.mark.parametrize("seed", range(4))
def test_executorchs_own_planner_plans_the_same(seed):
    """To the last offset, for random buffers; needs `pip install executorch`."""
    planning = pytest.importorskip(
        "executorch.exir.memory_planning", reason="executorch is not installed"
    )
    import torch
    from executorch.exir.tensor import TensorSpec

    draw = random.Random(seed)
    for _ in range(100):
        span, largest = draw.randint(1, 12), draw.choice([4, 40, 400])
        buffers = []
        for _ in range(draw.randint(1, 14)):
            first = draw.randrange(span)
            last = min(span, first + draw.randrange(5))
            buffers.append(Buffer(draw.randint(1, largest), first, last))
        specs = [TensorSpec(torch.int8, torch.Size([b.size])) for b in buffers]
        for spec, b in zip(specs, buffers, strict=True):
            spec.lifetime = [b.first, b.last]
        module = torch.fx.GraphModule({}, torch.fx.Graph())
        real = planning.greedy(16, specs, module, None)
        plan = executorch_plan(buffers)
        assert [real.spec_dict[spec].mem_offset for spec in specs] == list(plan.offsets)
        assert real.bufsizes[1] == plan.size
