"""The named reference networks: their specs, and where those come from. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

from ..errors import ArgumentError, explain, near_names, shown
from .spec import Spec

Origin: TypeAlias = Literal["reproduction", "reconstruction", "own"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A named network: its spec, the input it is meant for, and how well it is documented.

    Attributes:
        text: its spec as a person would write it.
        input_shape: of the input that it is meant for: `(C, H, W)`, or `(F,)` for a vector.
        origin: "reproduction" if the source lists the layers, "reconstruction" if the layers
            were inferred from what the source does state, "own" if it is this library's.
        note: where it comes from, in words, and where it differs from that.
    """

    text: str
    input_shape: tuple[int, ...]
    origin: Origin
    note: str

    @property
    def spec(self) -> Spec:
        """Its stages; the text is read when they are first asked for."""
        return _read(self.text)


_read = cache(Spec.parse)  # each name has one text

_REPORT = 'course report "Detecting handwritten digits under 20K parameters"'
_INFERRED = (
    f"The {_REPORT} states its parameters and receptive field only. Among chains of at most four "
    "convolutions with kernels 3, 5 or 7 and non-decreasing channels 8, 16 or 32, one pooling and "
    "a 1x1 classifier with global average pooling, this is the only one that fits both."
)


_SMALL = (
    "Few parameters for 99.4 % on MNIST: one shape, chosen on held-out digits among networks of "
    "2,100 to 3,100 parameters, in several widths. docs/results.md has what each of them reaches."
)
_BELOW = (
    "Made for MNIST below {} parameters: depthwise separable convolutions, chosen on held-out "
    "digits. docs/results.md has what it reaches."
)


def _mnist(text: str, origin: Origin, note: str) -> Reference:
    return Reference(text, (1, 28, 28), origin, note)


_CLOTHES = (
    "Depthwise separable convolutions, padded, made for Fashion-MNIST: of the networks that the "
    "designer found below a limit on parameters, the one that was best on held-out images."
)


def _separable(width: int) -> Reference:
    ds = f"ds{width}"
    return _mnist(f"c{width // 2} {ds} {ds} p {ds} {ds} {ds} gap10", "own", _SMALL)


def _torchvision(text: str, source: str, note: str = "") -> Reference:
    what = f"As torchvision has it for ImageNet, layer by layer: {source}. {note}"
    return Reference(text, (3, 224, 224), "reproduction", what.rstrip())


def _tiny(text: str, shape: tuple[int, ...], task: str, note: str = "") -> Reference:
    what = (
        f"The reference model of MLPerf Tiny for {task}, layer by layer, without softmax and the "
        f"biases that a BatchNorm takes up. {note}"
    )
    return Reference(text, shape, "reproduction", what.rstrip())


_UNEVEN = (
    "Where TensorFlow pads unevenly, its windows lie a pixel further down or right; sizes and MACs "
    "are the same."
)

REFERENCES = {
    "s6": _mnist(
        "c16 c16 c16 c16 p c16 c16 c16 gap10",
        "reproduction",
        f"The network of the {_REPORT}, layer by layer.",
    ),
    "s6_exp1": _mnist("c16k7 c32 p gap10", "reconstruction", f"Experiment 1. {_INFERRED}"),
    "s6_exp2": _mnist("c16 c32 c32 p gap10", "reconstruction", f"Experiment 2. {_INFERRED}"),
    "s6_exp3": _mnist("c32k5 c32 c32 p gap10", "reconstruction", f"Experiment 3. {_INFERRED}"),
    **{f"dsnet{width}": _separable(width) for width in (14, 16, 34, 38)},
    "dsnet24_40": _mnist("c16 ds24 ds24 p ds40 ds40 ds40 gap10", "own", _BELOW.format("8,000")),
    "dsnet40": _mnist("c16 ds40 ds40 p ds40 ds40 ds40 gap10", "own", _BELOW.format("10,000")),
    "dsnet24p": _mnist(
        "c8p1 ds16p1 ds24p1 ds24p1 p ds24p1 p ds24p1 p ds24p1 gap10", "own", _CLOTHES
    ),
    "dsnet36p": _mnist(
        "c36p1 ds36p1 ds36p1 ds36p1 p ds36p1 ds36p1 p ds36p1 ds36p1 ds36p1 gap10", "own", _CLOTHES
    ),
    "lenet5": Reference(
        "-bn tanh c6k5 ap c16k5 ap c120k5 flatten l84 fc10",
        (1, 32, 32),
        "reproduction",
        "LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, as courses "
        "teach it: the second convolution reads all maps, the poolings have no weights, and a "
        "linear layer gives the scores.",
    ),
    "all_cnn_c": Reference(
        "same -bn drop0.2 2*c96 c96s2 drop0.5 2*c192 c192s2 drop0.5 c192valid c192k1 c10k1 gap",
        (3, 32, 32),
        "reproduction",
        "Springenberg et al., Striving for Simplicity: The All Convolutional Net, 2014, for "
        "CIFAR-10.",
    ),
    "resnet20": Reference(
        "same c16 3*bb16 bb32s2 2*bb32 bb64s2 2*bb64 gap fc10",
        (3, 32, 32),
        "reproduction",
        "He et al., Deep Residual Learning for Image Recognition, 2015, for CIFAR-10. Where widths "
        "change, the shortcut is a 1x1 convolution (option B); theirs pads with zeros (A), which "
        "has 2,752 parameters less.",
    ),
    "resnet18": _torchvision(
        "same c64k7s2 p3s2p1 2*bb64 bb128s2 bb128 bb256s2 bb256 bb512s2 bb512 gap fc1000",
        "He et al., Deep Residual Learning for Image Recognition, 2015",
    ),
    "resnet50": _torchvision(
        "same c64k7s2 p3s2p1 3*bt256 bt512s2 3*bt512 bt1024s2 5*bt1024 bt2048s2 2*bt2048 gap "
        "fc1000",
        "He et al., Deep Residual Learning for Image Recognition, 2015, striding in the 3x3 "
        "convolutions",
    ),
    "vgg16_bn": _torchvision(
        "same 2*c64+bias p 2*c128+bias p 3*c256+bias p 3*c512+bias p 3*c512+bias p flatten "
        "2*l4096-bndrop0.5 fc1000",
        "Simonyan and Zisserman, Very Deep Convolutional Networks, 2014, with BatchNorm",
        "Other sizes of input need other weights here; torchvision pools them to 7x7.",
    ),
    "squeezenet1_1": _torchvision(
        "-bn c64s2 p3s2 2*(c16k1 [c64k1 | c64p1]) p3s2 2*(c32k1 [c128k1 | c128p1]) p3s2 "
        "2*(c48k1 [c192k1 | c192p1]) 2*(c64k1 [c256k1 | c256p1]) drop0.5 c1000k1 gap",
        "Iandola et al., SqueezeNet, 2016, in its version 1.1",
        "Where a pooling leaves a rest, torchvision rounds sizes up; at 224x224 none does.",
    ),
    "densenet121": _torchvision(
        "same c64k7s2 p3s2p1 db32n6 pc128k1 ap db32n12 pc256k1 ap db32n24 pc512k1 ap db32n16 bn "
        "gap fc1000",
        "Huang et al., Densely Connected Convolutional Networks, 2016",
    ),
    "mobilenet_v2": _torchvision(
        "same relu6 c32s2 ir16e1 ir24s2 ir24 ir32s2 2*ir32 ir64s2 3*ir64 3*ir96 ir160s2 2*ir160 "
        "ir320 c1280k1 gap fc1000drop0.2",
        "Sandler et al., MobileNetV2, 2018",
    ),
    "mobilenet_v3_small": _torchvision(
        "same c16s2hardswish ir16s2h16hse8 ir24s2h72 ir24h88 hardswish ir40k5s2h96hse24 "
        "2*ir40k5h240hse64 ir48k5h120hse32 ir48k5h144hse40 ir96k5s2h288hse72 2*ir96k5h576hse144 "
        "c576k1 gap l1024-bn fc1000drop0.2",
        "Howard et al., Searching for MobileNetV3, 2019",
        "Its BatchNorms have eps 0.001 and momentum 0.01 there.",
    ),
    "mobilenet_v3_large": _torchvision(
        "same c16s2hardswish ir16h16 ir24s2h64 ir24h72 ir40k5s2h72hse24 2*ir40k5h120hse32 "
        "hardswish ir80s2h240 ir80h200 2*ir80h184 ir112h480hse120 ir112h672hse168 "
        "ir160k5s2h672hse168 2*ir160k5h960hse240 c960k1 gap l1280-bn fc1000drop0.2",
        "Howard et al., Searching for MobileNetV3, 2019",
        "Its BatchNorms have eps 0.001 and momentum 0.01 there.",
    ),
    "efficientnet_b0": _torchvision(
        "same silu c32s2 ir16e1se0.25 ir24s2se0.25 ir24se0.25 ir40k5s2se0.25 ir40k5se0.25 "
        "ir80s2se0.25 2*ir80se0.25 3*ir112k5se0.25 ir192k5s2se0.25 3*ir192k5se0.25 ir320se0.25 "
        "c1280k1 gap fc1000drop0.2",
        "Tan and Le, EfficientNet, 2019",
        "In training, torchvision also drops the paths of residuals at random.",
    ),
    "regnet_y_400mf": _torchvision(
        "same c32s2 bt48s2h48g6se0.25 bt104s2h104g13se0.25 2*bt104h104g13se0.25 "
        "bt208s2h208g26se0.25 5*bt208h208g26se0.25 bt440s2h440g55se0.25 5*bt440h440g55se0.25 gap "
        "fc1000",
        "Radosavovic et al., Designing Network Design Spaces, 2020",
    ),
    "unet": Reference(
        "same 2*c32 [p 2*c64 [p 2*c128 [p 2*c256 [p 2*c512 tc256 | ] 2*c256 tc128 | ] 2*c128 tc64 "
        "| ] 2*c64 tc32 | ] 2*c32 c1k1-bnsigmoid",
        (3, 256, 256),
        "reproduction",
        "Ronneberger et al., U-Net, 2015, as mateuszbuda/brain-segmentation-pytorch on PyTorch Hub "
        "has it, layer by layer: half as wide, padded, with BatchNorm, and a probability for "
        "every pixel.",
    ),
    "ds_cnn": _tiny(
        "c64k10x4s2p5x1 drop0.2 4*ds64same drop0.4 gap fc12",
        (1, 49, 10),
        "keyword spotting",
        _UNEVEN,
    ),
    "mobilenet_v1_025": _tiny(
        "same c8s2 ds16 ds32s2 ds32 ds64s2 ds64 ds128s2 5*ds128 ds256s2 ds256 gap fc2",
        (3, 96, 96),
        "visual wake words",
        _UNEVEN,
    ),
    "resnet8": _tiny(
        "same c16 bb16 [c32s2 c32-act + c32k1s2-bn-act] [c64s2 c64-act + c64k1s2-bn-act] gap fc10",
        (3, 32, 32),
        "image classification",
        _UNEVEN,
    ),
    "autoencoder": _tiny("4*l128 l8 4*l128 fc640", (640,), "anomaly detection"),
}


def list_models() -> list[str]:
    """Names that `get_model` knows.

    >>> list_models()[:6]
    ['all_cnn_c', 'autoencoder', 'densenet121', 'ds_cnn', 'dsnet14', 'dsnet16']
    """
    return sorted(REFERENCES)


def get_reference(name: str) -> Reference:
    """The spec of a named network and where it comes from.

    Raises:
        ArgumentError: no network has this name; the message lists near ones.

    >>> str(get_reference("s6_exp1").spec), get_reference("s6_exp1").origin
    ('c16k7 c32 p gap10', 'reconstruction')
    """
    if not isinstance(name, str) or name not in REFERENCES:
        near = " or ".join(map(repr, near_names(name, REFERENCES, most=3)))
        hint = f"Did you mean {near}? " if near else ""
        remedy = f"{hint}models.list_models() gives all {len(REFERENCES)} names."
        raise ArgumentError(explain(f"no model is named {shown(name)}", remedy=remedy))
    return REFERENCES[name]
