"""The command line: its arguments. What the commands do is in `commands`."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from .._version import __version__
from ..accounting.training import OPTIMIZERS
from ..designer.kinds import KINDS
from ..designer.presets import PRESETS
from ..designer.space import HEADS
from ..errors import BudgetnetError, UnsupportedOp, explain, mark_of, one_line
from ..spec.fields import ACTIVATIONS
from . import commands as run
from .arguments import (
    SPEC,
    TARGET,
    add_checks,
    add_debug,
    add_device,
    add_format,
    add_limits,
    add_output,
    add_runtime,
    add_target,
)
from .streams import (
    allow_all_characters,
    final_status,
    print_error,
    print_mark,
    print_note,
    print_raw_note,
    print_raw_result,
)

EXPORTED = f"a listed model, {SPEC}, package.module:callable or file.py:callable"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0: done, and within budget; 1: over budget, or no network is within it; 2: the call, the
    configuration or the model is wrong, or whatever else went wrong; 3: a figure could not be
    determined; 130: stopped by Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    with allow_all_characters():
        return final_status(_run(words, debug="--debug" in words))


def _run(words: Sequence[str], *, debug: bool) -> int:
    """The exit code of a call; an unexpected error gives 2."""
    try:
        try:
            args = build_parser().parse_args(words)
        except SystemExit as stop:  # after --help and --version, or what cannot be typed
            return stop.code if isinstance(stop.code, int) else 0
        if args.run is None:  # not 0: a script that lost its command must not pass for a check
            print_raw_note(build_parser().format_help().rstrip("\n"))
            return 2
        code: int = args.run(args)
        return code
    except KeyboardInterrupt:
        print_error("stopped")
        return 130
    except BudgetnetError as error:
        _show(error, debug=debug)
        if error.is_verdict:
            print_note(f"budgetnet: {error}")
            return 1
        print_error(one_line(error))
        print_mark(mark_of(error))
        return 3 if isinstance(error, UnsupportedOp) else 2
    except BaseException as error:  # a status says one thing, whatever went wrong
        _show(error, debug=debug)
        what = "this was not expected"
        remedy = "" if debug else "Add --debug to see where it was raised."
        print_error(explain(what, numbers={type(error).__name__: one_line(error)}, remedy=remedy))
        return 2


def _show(error: BaseException, *, debug: bool) -> None:
    if debug:
        with suppress(BaseException):  # what an exception says of itself may raise
            print_note("".join(traceback.format_exception(error)))


class Parser(argparse.ArgumentParser):
    """A parser whose errors are always one line."""

    def error(self, message: str) -> NoReturn:
        """Print the usage error, and exit with 2."""
        print_error(f"{message}. See {self.prog} --help.")
        raise SystemExit(2)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help and version; unlike argparse, fail if they cannot be written."""
        print_raw_result(message.rstrip("\n"))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="budgetnet",
        description="Parameters, MACs and receptive field, exactly.",
        epilog="budgetnet COMMAND --help describes each command.",
    )
    parser.set_defaults(debug=False, run=None)
    add_debug(parser)
    parser.add_argument("--version", action="version", version=f"budgetnet {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for add in (
        _add_account, _add_design, _add_check, _add_init, _add_report, _add_draw, _add_deployment,
        _add_training, _add_measure, _add_plan_memory, _add_export, _add_models, _add_words,
        _add_schema, _add_check_table,
    ):  # fmt: skip
        add(commands)
    return parser


def _command(commands: Any, does: Callable[[argparse.Namespace], int], **more: Any) -> Parser:
    """The parser of a command, which is called as the function that it runs."""
    parser: Parser = commands.add_parser(does.__name__.replace("_", "-"), **more)
    parser.set_defaults(run=does)
    add_debug(parser)
    return parser


def _add_account(commands: Any) -> None:
    account = _command(
        commands,
        run.account,
        help="print what a network costs and sees",
        epilog="""examples: budgetnet account s6;
            budgetnet account "c16 p c32 gap10" --input 1x28x28;
            budgetnet account torchvision.models:resnet18 --input 3x224x224 --depth 2""",
    )
    add_target(account)
    account.add_argument("--depth", type=int, metavar="N", help="sum rows N modules deep")
    account.add_argument(
        "--table", metavar="FILE", help="add a column: the latency estimated by what "
        "budgetnet measure wrote on a machine; json is then that of the estimate",
    )  # fmt: skip
    account.add_argument(
        "--lenient", action="store_true", help="mark figures unknown where an operation has no rule"
    )
    add_format(account)


def _add_design(commands: Any) -> None:
    design = _command(
        commands,
        run.design,
        help="find the networks that meet a budget, exactly",
        description="""Find the best networks of a search space that meet a budget, without data or
            training. Exit code 0: found; 1: none meets it, and the message says why; 2: the call
            is wrong. Ctrl-C prints the best so far.""",
        epilog="""examples: budgetnet design --input 1x28x28 --classes 10 --params 20k --rf 22;
            budgetnet design --input 1x28x28 --classes 10 --params 8k --rf 22 --format python;
            budgetnet design --input 1x28x28 --classes 10 --params 3k --pareto params,rf""",
    )
    add = design.add_argument
    add("--input", metavar="CxHxW", required=True, help="such as 1x28x28")
    add("--classes", metavar="N", type=int, required=True, help="outputs of the network")
    add_device(add_limits(design))
    add("--objective", metavar="'max FIGURE'", help="or 'min FIGURE', or macs=1,params=-20")
    add("--pareto", metavar="FIGURE,FIGURE", help="all trade-offs between these, such as params,rf")
    add(
        "--top",
        metavar="N",
        type=int,
        default=1,
        help="how many designs, each with a different skeleton",
    )
    add("--time-limit", metavar="SECONDS", type=float, help="then print the best so far")
    add("--plot", metavar="FILE", help="a picture of the Pareto front")
    add_format(design, "python")
    _add_space(design)


def _add_space(parser: argparse.ArgumentParser) -> None:
    """A flag for every option of a search space."""
    space = parser.add_argument_group("search space", "by default one that suits the input")
    space.add_argument(
        "--space", metavar="NAME",
        help=f"one of {', '.join(PRESETS)}; what follows takes the place of its own options",
    )  # fmt: skip
    for name, metavar, text in (
        ("widths", "LOW..HIGH", "output channels, or a list such as 8,16,32"),
        ("divisor", "N", "only widths that are multiples of it"),
        ("kernels", "K,K", "such as 3,5"),
        ("kinds", "KIND,KIND", ", ".join(KINDS)),
        ("paddings", "PADDING,PADDING", "valid, same"),
        ("convs", "LOW..HIGH", "convolutions in all"),
        ("stage-convs", "LOW..HIGH", "convolutions at each resolution"),
        ("downsamples", "LOW..HIGH", "how many"),
        ("positions", "N,N", "convolutions that may lie before a downsampling"),
        ("downsampling", "WAY,WAY", "pool, average, stride"),
        ("expansions", "E,E", "of inverted and fused blocks, such as 3,6"),
        ("squeeze-excite", "RATIO,RATIO", "such as 0,0.25; 0 for none"),
        ("growths", "N,N", "channels that a layer of a dense block appends"),
        ("dense-layers", "N,N", "layers of a dense block"),
        ("activation", "NAME", ", ".join(ACTIVATIONS)),
        ("heads", "HEAD,HEAD", ", ".join(HEADS)),
        ("head-widths", "LOW..HIGH", "output channels of the last 1x1 convolution of conv-fc"),
        ("strides", "S,S", "of the stages, such as 2,2,1,2, instead of downsamplings"),
        ("stem-stride", "S", "of the first convolution, before the stages"),
        ("stem-kernels", "K,K", "of the first convolution"),
        ("stem-widths", "LOW..HIGH", "of the first convolution, before the stages"),
        ("stage-widths", "N,N/N,N", "widths of each stage, with a slash between two stages"),
        ("output-stride", "S", "beyond it, strides become dilation"),
        ("resolutions", "N,N", "sizes of square inputs, such as 96,128,160"),
        ("width-multipliers", "X,X", "such as 0.5,0.75,1, of stages that have one width each"),
    ):
        space.add_argument(f"--{name}", metavar=metavar, help=text)
    for name, text in (
        ("transitions", "1x1 convolutions behind poolings"),
        ("monotone", "widths that never become smaller"),
        ("uniform", "one width at each resolution"),
    ):
        space.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=text)


def _add_check(commands: Any) -> None:
    check = _command(
        commands,
        run.check,
        help="hold networks to their budgets",
        description="""Check every [[tool.budgetnet.check]] of pyproject.toml, or one TARGET with
            limits given here. Exit code 0: within; 1: over; 2: the call, the configuration or the
            model is wrong, or whatever else went wrong; 3: a figure could not be determined. Each
            model runs in a process of its own; what it prints goes to stderr.""",
        epilog="""examples: budgetnet check;
            budgetnet check s6 --params 20k --receptive-field 22;
            budgetnet check account.json --weight-bytes "60 KiB" --why""",
    )
    add_checks(check)
    check.add_argument("--why", action="store_true", help="say what costs most, and give hints")
    add_format(
        check, "github", "sarif", "junit", "badge", action="append", default=None,
        help="github annotates pull requests and writes the job summary, beside the table or, "
        "given twice, beside another format",
    )  # fmt: skip
    check.add_argument(
        "--save", metavar="FORMAT=FILE", action="append", default=[],
        help=f"write a file as well: {', '.join(run.CHECK_FORMATS)}",
    )  # fmt: skip
    check.add_argument(
        "--update", action="store_true", help="write the baseline that growth is measured against"
    )


def _add_init(commands: Any) -> None:
    init = _command(
        commands, run.init, help="add a check with today's numbers of a network to pyproject.toml"
    )
    add_target(init)
    init.add_argument("--name", help="of the check; the target by default")
    init.add_argument("--config", metavar="FILE", help="instead of pyproject.toml")


def _add_report(commands: Any) -> None:
    report = _command(
        commands,
        run.report,
        help="write what a network costs and sees as one HTML file",
        description="""Write one HTML file that needs no network: verdicts, the diagram, receptive
            fields over a picture, growth curves, the layer table, and what-if for chains. It is of
            a TARGET with limits given here, or of a [[tool.budgetnet.check]] of pyproject.toml.""",
        epilog="""examples: budgetnet report s6 --params 20k --rf 22 -o s6.html;
            budgetnet report --only s6 --image digit.png -o s6.html;
            budgetnet report torchvision.models:resnet50 --input 3x224x224 -o resnet50.html""",
    )
    add_checks(report)
    add = report.add_argument
    add("--image", metavar="FILE", help="a picture to lay receptive fields over")
    add(
        "--footprints",
        action="store_true",
        help="measure the gradient of the middle unit of each map and lay it over its field",
    )
    add("--footprint", metavar="LAYER@row,column", action="append",
        help="measure that of one unit; may be given several times")  # fmt: skip
    add("--weights", metavar="NAME", help="shipped ones to measure, such as mnist")
    add("--against", metavar="TARGET", help="another network to compare with")
    add_output(report, "such as report.html", required=True)


def _add_draw(commands: Any) -> None:
    draw = _command(
        commands,
        run.draw,
        help="draw a network as an SVG picture, or its receptive fields",
        description="""Draw a network as an SVG picture of one screen: stages hold blocks, blocks
            that are alike stand once, as x6, U-Nets are drawn as a U, and a deeper tint costs
            more.""",
        epilog="""examples: budgetnet draw s6 -o s6.svg;
            budgetnet draw torchvision.models:resnet50 --input 3x224x224 -o resnet50.svg;
            budgetnet draw torchvision.models:vit_b_16 --input 3x224x224 --depth 3 -o vit.svg;
            budgetnet draw s6 --plot rf.png""",
    )
    add_target(draw)
    draw.add_argument(
        "--depth", type=int, metavar="N", help="every module N deep has a box, repeats as well"
    )
    draw.add_argument("--plot", metavar="FILE", help="a picture of the receptive fields: png, svg")
    add_output(draw, "such as net.svg")


def _add_deployment(commands: Any) -> None:
    deployment = _command(
        commands,
        run.deployment,
        help="print the flash and RAM that a runtime needs for a network, step by step",
        description="""Print what is in memory while each operator runs, as TensorFlow Lite Micro or
            ExecuTorch plans it, what they need in all, and how little the least plan needs.""",
        epilog="""examples: budgetnet deployment s6 --board stm32f446;
            budgetnet deployment person_detect.tflite;
            budgetnet deployment torchvision.models:mobilenet_v2 --input 3x224x224
            --runtime executorch""",
    )
    add_target(deployment, help=f"{TARGET}, or a .tflite file")
    add_runtime(deployment)
    add = deployment.add_argument
    add("--kernels", metavar="NAME", help="reference, cmsis-nn or 'cmsis-nn without dsp'")
    add("--board", metavar="NAME", help="compare with its flash and RAM, such as stm32f446")
    add_format(deployment)


def _add_training(commands: Any) -> None:
    training = _command(
        commands,
        run.training,
        help="print what a training step of a network needs, layer by layer",
        description="""Print the activations that are saved for the backward pass, gradients, the
            state of the optimizer, the peak of a step and its MACs, as eager PyTorch has them on
            the CPU. Workspace inside operations and what an allocator keeps come on top.""",
        epilog="""examples: budgetnet training s6 --batch 128 --optimizer adam;
            budgetnet training torchvision.models:resnet50 --input 3x224x224
            --optimizer adamw --memory 24GiB""",
    )
    add_target(training, help=EXPORTED)
    add = training.add_argument
    add("--batch", metavar="N", help="inputs in a step, or max with --memory; 1 by default")
    add("--optimizer", metavar="NAME", default="sgd", help="one of " + ", ".join(OPTIMIZERS))
    add("--memory", metavar="SIZE", help="print the largest batch whose step fits, such as 24GiB")
    add("--dtype", metavar="TYPE", default="", help="convert the model, such as to bfloat16")
    add(
        "--checkpoint", metavar="PATTERN", action="append", default=[],
        help="modules whose activations are computed again in the backward pass, such as 'layer*'",
    )  # fmt: skip
    add_format(training)


def _add_measure(commands: Any) -> None:
    measure = _command(
        commands,
        run.measure,
        help="measure the operators of networks on this machine, for estimates of latency",
        description="""Time the operators of a TARGET one by one, with PyTorch on the CPU at batch 1
            in float32, and write or add to a table of latencies: those of the listed networks if
            there is no TARGET, or those of a search space if there are --classes. What the file has
            is not measured again. Ctrl-C keeps what was measured.""",
        epilog="""examples: budgetnet measure s6 -o this-machine.json;
            budgetnet measure torchvision.models:resnet18 --input 3x224x224 -o this-machine.json;
            budgetnet measure --input 1x28x28 --classes 10 --widths 8,16 -o this-machine.json""",
    )
    add_target(measure, nargs="?")
    add = measure.add_argument
    add("--threads", metavar="N", type=int, default=1, help="that PyTorch may use; 1 by default")
    add("--quick", action="store_true", help="a fifth of the samples, for a first look")
    add("--again", action="store_true", help="measure anew what the file has as well")
    add("--classes", metavar="N", type=int, help="outputs of the networks of a search space")
    add_output(measure, "such as this-machine.json", required=True)
    _add_space(measure)


def _add_plan_memory(commands: Any) -> None:
    plan = _command(
        commands,
        run.plan_memory,
        help="write the least plan of memory into a copy of a .tflite file",
        description="""Write a copy of a .tflite file that brings the least plan of memory, in the
            order of operators that needs least, for TensorFlow Lite Micro with the kernels of a
            board, or with its reference kernels. It computes the same.""",
        epilog="""examples: budgetnet plan-memory person_detect.tflite -o planned.tflite;
            budgetnet plan-memory person_detect.tflite --board stm32f446 -o planned.tflite""",
    )
    plan.add_argument("file", metavar="FILE", help="a .tflite file")
    plan.add_argument(
        "--kernels", metavar="NAME", help="reference, cmsis-nn or 'cmsis-nn without dsp'"
    )
    plan.add_argument("--board", metavar="NAME", help="whose kernels run it, such as stm32f446")
    plan.add_argument(
        "--time-limit", metavar="SECONDS", type=float, default=20.0,
        help="then write the best so far",
    )  # fmt: skip
    add_output(plan, "such as planned.tflite", required=True)


def _add_export(commands: Any) -> None:
    export = _command(
        commands,
        run.export,
        help="write a network as an ONNX, .tflite or .pte file, checked against the model",
        description="""Write a network at inference as an ONNX file that takes any batch size, as a
            .tflite file, or as an ExecuTorch program (.pte), every BatchNorm folded into the
            convolution before it. A runtime runs the file before it is put in place: nothing is
            written that does not compute what the model does. Needs pip install -e ".[onnx]",
            ".[litert]" for .tflite files, or ".[executorch]" for .pte files.""",
        epilog="""examples: budgetnet export s6 --weights mnist -o s6.onnx;
            budgetnet export torchvision.models:resnet18 --input 3x224x224 -o resnet18.onnx;
            budgetnet export s6 --weights mnist --int8 --calibrate digits.npy -o s6.tflite""",
    )
    add_target(export, help=EXPORTED)
    add = export.add_argument
    add("--weights", metavar="NAME", help="shipped weights of a listed model, such as mnist")
    add("--no-fold", action="store_true", help="keep every BatchNorm")
    add(
        "--format",
        choices=("onnx", "tflite", "pte"),
        help="by default what the name of the file says",
    )
    add("--int8", action="store_true", help="weights and activations of a .tflite file in int8")
    add("--calibrate", metavar="FILE", help="typical inputs (N, C, H, W) for --int8, a .npy file")
    add_output(export, "such as net.onnx", required=True)


def _add_models(commands: Any) -> None:
    models = _command(commands, run.models, help="list the named networks and where they come from")
    add_format(models)


def _add_words(commands: Any) -> None:
    words = _command(
        commands, run.words, help="list the words that a spec is written of, and what may follow"
    )
    add_format(words)


def _add_schema(commands: Any) -> None:
    schema = _command(
        commands,
        run.schema,
        help="print the JSON Schema of [[tool.budgetnet.check]], for editors",
        description="""Print the JSON Schema of a configuration, so that an editor completes its
            keys and marks what `check` would refuse.""",
        epilog="example: budgetnet schema -o budgetnet.schema.json",
    )
    add_output(schema, "such as budgetnet.schema.json")


def _add_check_table(commands: Any) -> None:
    table = _command(
        commands,
        run.check_table,
        help="find the first wrong row of a table of receptive fields made by hand, and why",
        description="""Compare the column of receptive fields in a table made by hand with the
            network. The table is Markdown, CSV or columns set apart by tabs or spaces. Exit code 0:
            all rows are right; 1: a row is wrong, and which known mistake gives the number; 2: the
            table or the network cannot be read; 3: what is right is unknown.""",
        epilog="""examples: budgetnet check-table notes.md s6;
            budgetnet check-table fields.csv "c16 c16 p c32 gap10" --input 1x28x28""",
    )
    table.add_argument("file", metavar="FILE", help="with the table; - for stdin")
    add_target(table)
    add_format(table)
