"""Models whose `forward` asks for values: exact up to there, and unknown from there on."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from budgetnet import Budget, account
from budgetnet.errors import RunEnded, UnsupportedOp
from budgetnet.report import render_html
from budgetnet.trace.run import account_of_module

SHAPE = (3, 16, 16)


def boxes_of(x):
    from torchvision.ops import nms

    return nms(x.reshape(-1, 4), x.reshape(-1, 4)[:, 0], 0.5)


@torch.library.custom_op("budgetnet_test::shapeless", mutates_args=())
def shapeless(x: torch.Tensor) -> torch.Tensor:
    return x * 2


DECISIONS = {
    "item": lambda x: x * x.sum().item(),
    "if": lambda x: x if x.sum() > 0 else -x,
    "tolist": lambda x: torch.tensor(x.flatten().tolist()),
    "numpy": lambda x: torch.from_numpy(x.numpy()),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "masked_select": lambda x: torch.masked_select(x, x > 0),
    "unique": torch.unique,
    "unique_consecutive": torch.unique_consecutive,
    "bincount": lambda x: torch.bincount(x.flatten().long()),
    "repeat_interleave": lambda x: torch.repeat_interleave(x.flatten().long()),
    "equal": lambda x: x if torch.equal(x, x + 1) else -x,
    "nms": boxes_of,
}
OWN = {**DECISIONS, "no shape": torch.ops.budgetnet_test.shapeless}


class Detector(nn.Module):
    """A backbone, a choice, and a head that may or may not run."""

    def __init__(self, choose):
        super().__init__()
        self.choose = choose
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.head = nn.Linear(1, 1)

    def forward(self, x):
        x = self.choose(self.backbone(x))
        return self.head(x.reshape(-1, 1).float())


@pytest.mark.parametrize("name", DECISIONS)
def test_a_strict_account_names_the_place(name):
    with pytest.raises(RunEnded) as caught:
        account(Detector(DECISIONS[name]), SHAPE)
    text = str(caught.value)
    file = "torchvision/ops/boxes.py" if name == "nms" else "test_run_ended.py"
    assert text.startswith(f"the model (Detector) at {file}:")
    assert text.endswith("Pass strict=False for the figures up to there.")


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("name", OWN)
def test_what_ran_is_exact_and_the_rest_unknown(name, shortcuts):
    model = Detector(OWN[name])
    whole = account(model.backbone, SHAPE)
    found = account_of_module(model, SHAPE, strict=False, shortcuts=shortcuts)
    assert not found.is_complete
    for mine, row in zip(found.rows, whole.rows, strict=False):
        assert row._replace(path=f"backbone.{row.path}") == mine
    last = found.rows[-1]
    assert last.unknown.startswith("the run ends at ")
    assert "the model (Detector)" in last.unknown
    assert (None, None, ()) == (last.macs, last.receptive_field, last.output_shape)
    assert whole.macs == found.by_module()["backbone"].macs
    assert (None, None, None, None, None, None) == (
        found.macs, found.depth, found.receptive_field, found.peak_activation_bytes,
        found.output_shapes, found.output_shape,
    )  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == found.params
    assert () == found.unused
    assert last.unknown == found.unknown[-1]


def test_an_unfinished_account_is_written_and_read():
    found = account(Detector(DECISIONS["mask"]), SHAPE, strict=False)
    assert type(found).from_json(found.to_json()) == found
    text = str(found)
    assert "at most unknown bytes of activations" in text
    assert "unknown: the run ends at index: the model (Detector) at test_run_ended.py" in text
    total = next(line for line in text.splitlines() if "Total" in line)
    assert total.count("unknown") == 4  # output, field, jump, MACs
    page = render_html(found)
    assert "output unknown" in page
    assert "the run ends at index" in page


def test_no_limit_holds_for_what_did_not_run():
    found = account(Detector(DECISIONS["item"]), SHAPE, strict=False)
    budget = Budget(
        params="1k", weight_bytes="10kB", macs="1G", peak_activation_bytes="1GB", depth=99,
        receptive_field=1, require="Linear", forbid="Dropout*",
    )  # fmt: skip
    verdicts = {finding.name: finding for finding in budget.check(found)}
    for name in ("params", "weight_bytes"):
        assert "within" == verdicts.pop(name).verdict
    for finding in verdicts.values():
        assert "unknown" == finding.verdict
        assert "the run ends at _local_scalar_dense" in finding.reason
    seen = Budget(require="Conv2d", forbid="Conv2d").check(found)  # what ran can be judged
    assert ["within", "over"] == [finding.verdict for finding in seen]


def test_a_layer_in_which_the_run_ends():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(4, 4, 1, 1))

        def forward(self, x):
            y = nn.functional.conv2d(x, self.weight)
            return y if y.max() > 1 else x

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Gate(), nn.Conv2d(4, 4, 3))
    found = account(model, SHAPE, strict=False)
    assert [("0", 112), ("1", 16)] == [(row.path, row.params) for row in found.rows]
    assert ("Gate", None, (0,)) == (found.rows[1].kind, found.rows[1].macs, found.rows[1].reads)
    assert 3 * 4 * 9 * 14 * 14 == found.rows[0].macs
    assert found.params == sum(p.numel() for p in model.parameters())


DETECTORS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": ("backbone", "rpn.head"),
    "ssdlite320_mobilenet_v3_large": ("backbone", "head"),
    **dict.fromkeys(("retinanet_resnet50_fpn", "fcos_resnet50_fpn"), ("backbone", "head")),
    "ssd300_vgg16": ("backbone", "head"),
    "maskrcnn_resnet50_fpn": ("backbone", "rpn.head"),
    "keypointrcnn_resnet50_fpn": ("backbone", "rpn.head"),
}
QUICK = 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if i < QUICK else pytest.mark.deep)
        for i, name in enumerate(DETECTORS)
    ],
)
def test_detectors_of_torchvision_up_to_their_choices(name):
    models = pytest.importorskip("torchvision", reason="torchvision is not installed").models
    torch.manual_seed(0)
    model = models.get_model(name, weights=None, weights_backbone=None).eval()
    with pytest.raises(RunEnded, match=r"at torchvision/\S+\.py:\d+: .*depends? on values"):
        account(model, (3, 320, 320))
    found = account(model, (3, 320, 320), strict=False)
    assert sum(p.numel() for p in model.parameters()) == found.params
    shapes = {}
    for path, module in model.named_modules():
        if not [*module.children()]:
            module.register_forward_hook(
                lambda _, __, out, path=path: (
                    shapes.setdefault(path, []).append(out.shape[1:])
                    if isinstance(out, torch.Tensor)
                    else None
                )
            )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 3, 320, 320))
    counts = counter.get_flop_counts()
    sums = found.by_module()
    for path in DETECTORS[name]:
        flops = sum(counts[f"{type(model).__name__}.{path}"].values())
        assert flops // 2 == sums[path].macs
        assert flops > 0
    for path in {row.path for row in found.rows if row.path.startswith(DETECTORS[name])}:
        mine = [tuple(row.output_shape) for row in found.rows if row.path == path]
        if path in shapes:
            assert mine == [tuple(shape) for shape in shapes[path]], path


class Catches(nn.Module):
    """Goes another way where an operation fails, which it would not do outside an account."""

    def __init__(self, fails):
        super().__init__()
        self.conv, self.fails = nn.Conv2d(3, 4, 3), fails

    def forward(self, x):
        try:
            return self.conv(x + self.fails(x))
        except Exception:  # as models do
            return x


@pytest.mark.parametrize("strict", [True, False])
def test_errors_that_forward_catches_still_end_the_run(strict):
    net = Catches(lambda x: x.sum().item())
    if strict:
        with pytest.raises(RunEnded, match="depends on a value of the input"):
            account(net, (3, 8, 8))
    else:
        found = account(net, (3, 8, 8), strict=False)
        assert not found.is_complete
        assert found.macs is None


def test_refusals_that_forward_catches_are_refusals():
    with pytest.raises(UnsupportedOp, match="does not accept an activation as weight"):
        account(Catches(lambda x: torch.nn.functional.conv2d(x, x[:, :, :3, :3])), (3, 8, 8))


def test_hooks_that_forward_adds_where_it_catches_everything():
    class Adds(Catches):
        def forward(self, x):
            try:
                self.conv.register_forward_hook(lambda module, args, out: out * 2)
            except Exception:  # as models do
                return x
            return self.conv(x)

    assert [row.kind for row in account(Adds(None), (3, 8, 8)).rows] != []
    assert account(Adds(None), (3, 8, 8)).macs == 4 * 27 * 36
