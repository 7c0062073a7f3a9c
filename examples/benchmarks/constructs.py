"""Count hard constructs with budgetnet and its peers, beside a truth that none of them computes.

    pip install torchinfo thop fvcore calflops transformers accelerate ptflops torchlens \
        torchscan torchsummary
    python examples/benchmarks/constructs.py

The truth of parameters is the sum of `numel` over distinct tensors, that of MACs a product written
down by hand, that of the receptive field the span of a footprint measured on the real network.
No construct holds a norm, and MACs are asked of none that pools, since tools differ by convention
there and not by mistake. Peers are called as their documentation recommends; one that is not
installed is listed as such.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.metadata
import io
import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import budgetnet
import run_folder
from budgetnet.testing import nan_footprint

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "constructs.json"
Shape = tuple[int, int, int]
SHAPE: Shape = (1, 16, 16)


class Net(nn.Module):
    """A module with a forward of its own, so that each construct is a few lines."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def conv(channels: int, out: int, kernel: int, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, bias=False, **more)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.rand(shape))


def tied() -> nn.Module:
    first, second = conv(4, 4, 3), conv(4, 4, 3)
    second.weight = first.weight
    return nn.Sequential(conv(1, 4, 3), first, second)


def used_twice() -> nn.Module:
    return Net(lambda m, x: m.b(m.b(m.a(x))), a=conv(1, 4, 3), b=conv(4, 4, 3))


def functional() -> nn.Module:
    return Net(lambda m, x: F.conv2d(m.a(x), m.w), a=conv(1, 4, 3), w=weight(8, 4, 3, 3))


def bare_parameter() -> nn.Module:
    return Net(lambda m, x: m.a(x) * m.scale, a=conv(1, 4, 3), scale=weight(4, 1, 1))


def transposed() -> nn.Module:
    return nn.Sequential(
        conv(1, 4, 3), nn.ConvTranspose2d(4, 4, 2, stride=2, bias=False), conv(4, 4, 3)
    )


def channels_last() -> nn.Module:
    return Net(
        lambda m, x: m.b(m.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        a=conv(1, 4, 3), b=nn.Linear(4, 8, bias=False),
    )  # fmt: skip


def normalised() -> nn.Module:
    return nn.Sequential(conv(1, 4, 3), parametrizations.weight_norm(conv(4, 8, 3)))


def frozen() -> nn.Module:
    net = nn.Sequential(conv(1, 4, 3), conv(4, 8, 3))
    net[0].weight.requires_grad_(False)
    return net


def even_same() -> nn.Module:
    return nn.Sequential(conv(1, 4, 4, padding="same"), conv(4, 8, 3))


def unused() -> nn.Module:
    return Net(lambda m, x: m.a(x), a=conv(1, 4, 3), b=conv(4, 8, 3))


def adaptive() -> nn.Module:
    return nn.Sequential(conv(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(8), conv(4, 8, 3))


def functional_pool() -> nn.Module:
    return Net(lambda m, x: m.b(F.max_pool2d(m.a(x), 2)), a=conv(1, 4, 3), b=conv(4, 8, 3))


def sliced() -> nn.Module:
    return Net(lambda m, x: m.b(m.a(x)[:, :, ::2, ::2]), a=conv(1, 4, 3), b=conv(4, 8, 3))


def product() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x).flatten(2)
        return y.transpose(1, 2) @ y

    return Net(run, a=conv(1, 4, 3))


class Construct(NamedTuple):
    """A network, and the MACs that it does by hand; `None` where conventions differ."""

    name: str
    make: Callable[[], nn.Module]
    macs: int | None
    has_field: bool = True


FIRST = 1 * 4 * 9 * 14 * 14  # the first convolution of each: 1 to 4 channels, 3x3, 16 to 14
CONSTRUCTS = (
    Construct("tied weights", tied, FIRST + 4 * 4 * 9 * (12 * 12 + 10 * 10)),
    Construct("a module used twice", used_twice, FIRST + 4 * 4 * 9 * (12 * 12 + 10 * 10)),
    Construct("functional convolution", functional, FIRST + 4 * 8 * 9 * 12 * 12),
    Construct("bare `nn.Parameter`", bare_parameter, FIRST),
    Construct("transposed convolution", transposed, FIRST + 4 * 4 * (4 * 14 * 14 + 9 * 26 * 26)),
    Construct("`nn.Linear` on channels-last maps", channels_last, FIRST + 4 * 8 * 14 * 14),
    Construct("`weight_norm`", normalised, FIRST + 4 * 8 * 9 * 12 * 12),
    Construct("frozen parameters", frozen, FIRST + 4 * 8 * 9 * 12 * 12),
    Construct('even kernel, `padding="same"`', even_same, 4 * 16 * 16 * 16 + 4 * 8 * 9 * 14 * 14),
    Construct("a module that is not used", unused, FIRST),
    Construct("adaptive pooling", adaptive, None),
    Construct("`F.max_pool2d(x, 2)`", functional_pool, None),
    Construct("slice with a step", sliced, FIRST + 4 * 8 * 9 * 5 * 5),
    Construct("product of two maps, `@`", product, FIRST + 196 * 4 * 196, has_field=False),
)
CONVENTIONS = {  # what stands behind or in a convolution, and counts for some tools as work
    "bias": lambda: nn.Sequential(nn.Conv2d(1, 4, 3)),
    "BatchNorm2d": lambda: nn.Sequential(conv(1, 4, 3), nn.BatchNorm2d(4)),
    "ReLU": lambda: nn.Sequential(conv(1, 4, 3), nn.ReLU()),
    "AvgPool2d": lambda: nn.Sequential(conv(1, 4, 3), nn.AvgPool2d(2)),
}
Figures = dict[str, Any]  # "params", "macs", "receptive_field"; what is absent is not given


def of_budgetnet(model: nn.Module, x: Tensor) -> Figures:
    account = budgetnet.account(model, x.shape[1:])
    assert account.receptive_field is not None
    return {
        "params": account.params,
        "macs": account.macs,
        "receptive_field": max(account.receptive_field.size),
    }


def of_torchinfo(model: nn.Module, x: Tensor) -> Figures:
    import torchinfo

    found = torchinfo.summary(model, input_data=x, verbose=0)
    return {"params": found.total_params, "macs": found.total_mult_adds}


def of_thop(model: nn.Module, x: Tensor) -> Figures:
    import thop

    macs, params = thop.profile(model, (x,), verbose=False)
    return {"params": int(params), "macs": int(macs)}


def of_fvcore(model: nn.Module, x: Tensor) -> Figures:
    import fvcore.nn

    macs = fvcore.nn.FlopCountAnalysis(model, x).total()  # it calls a multiply-add one flop
    return {"params": fvcore.nn.parameter_count(model)[""], "macs": int(macs)}


def of_calflops(model: nn.Module, x: Tensor) -> Figures:
    import calflops

    _, macs, params = calflops.calculate_flops(
        model, args=[x], print_results=False, output_as_string=False
    )
    return {"params": int(params), "macs": int(macs)}


def of_ptflops(model: nn.Module, x: Tensor) -> Figures:
    import ptflops

    macs, params = ptflops.get_model_complexity_info(
        model, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, backend="aten"
    )
    return {"params": int(params), "macs": int(macs)}


def of_torchscan(model: nn.Module, x: Tensor) -> Figures:
    import torchscan

    totals = torchscan.crawl_module(model, args=(x,))["totals"]
    # Its fields are those of single layers; for the network it gives none.
    return {"params": totals["parameters"]["value"], "macs": totals["macs"]["value"]}


def of_torchsummary(model: nn.Module, x: Tensor) -> Figures:
    import torchsummary

    with contextlib.redirect_stdout(io.StringIO()) as out:
        torchsummary.summary(model, tuple(x.shape[1:]), device="cpu")
    (params,) = re.findall(r"Total params: ([\d,]+)", out.getvalue())
    return {"params": int(params.replace(",", ""))}


def of_torchlens(model: nn.Module, x: Tensor) -> Figures:
    import torchlens

    trace = torchlens.trace(model, x)
    figures: Figures = {"params": trace.num_params, "macs": int(trace.total_macs_forward)}
    figures["lacks"] = [group.func_name for group in trace.unknown_flop_ops]  # it says so itself
    field = list(trace.layers)[-1].receptive_field
    # Where it knows no size it says so, and offers to measure a gradient instead.
    with contextlib.suppress(torchlens.receptive_field.ReceptiveFieldError):
        figures |= {"receptive_field": max(field.size), "status": field.status.value}
    return figures


def of_flop_counter(model: nn.Module, x: Tensor) -> Figures:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(x)
    return {"macs": counter.get_total_flops() // 2}


TOOLS: dict[str, Callable[[nn.Module, Tensor], Figures]] = {
    "budgetnet": of_budgetnet,
    "torchinfo": of_torchinfo,
    "thop": of_thop,
    "fvcore": of_fvcore,
    "calflops": of_calflops,
    "ptflops": of_ptflops,
    "torchscan": of_torchscan,
    "torchsummary": of_torchsummary,
    "torchlens": of_torchlens,
    "FlopCounterMode": of_flop_counter,
}


def truth(construct: Construct, model: nn.Module) -> Figures:
    """Parameters by `numel`, MACs by hand, the field by the widest footprint of all units."""
    field = None
    if construct.has_field:
        read = nan_footprint(model, SHAPE).any(axis=-1)  # unit row, unit column, input row
        rows = [np.flatnonzero(read[unit]) for unit in np.ndindex(read.shape[:2])]
        field = max(int(row[-1] - row[0] + 1) for row in rows)
    params = sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
    return {"params": params, "macs": construct.macs, "receptive_field": field}


def given(tool: str, model: nn.Module) -> Figures:
    """What a tool says of a model of its own; an exception is an answer as well."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return TOOLS[tool](copy.deepcopy(model).eval(), torch.rand(1, *SHAPE))
    except Exception as error:  # a tool may fail in any way, and that is what is measured
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"}


def version(tool: str) -> str | None:
    """Of an installed tool; `None` where it is not, "" where it is part of torch or ours."""
    if tool in ("budgetnet", "FlopCounterMode"):
        return ""
    try:
        importlib.import_module(tool)
        return importlib.metadata.version(tool)
    except ImportError:
        return None


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    torch.manual_seed(0)
    found = {tool: version(tool) for tool in TOOLS}
    tools = [tool for tool, text in found.items() if text is not None]
    rows = []
    for construct in CONSTRUCTS:
        model = construct.make().eval()
        answers = {tool: given(tool, model) for tool in tools}
        rows.append({"name": construct.name, "truth": truth(construct, model), "given": answers})
        print(rows[-1], flush=True)
    conventions = {
        name: {tool: given(tool, make().eval()).get("macs") for tool in tools}
        for name, make in CONVENTIONS.items()
    }
    run_folder.write_json(
        RESULTS,
        {
            "command": "python examples/benchmarks/constructs.py",
            "input_shape": SHAPE,
            "constructs": rows,
            "first_convolution_macs": FIRST,
            "conventions": conventions,
            "not_installed": [tool for tool, text in found.items() if text is None],
            "versions": run_folder.versions()
            | {tool: text for tool, text in found.items() if text},
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )


if __name__ == "__main__":
    main()
