"""CNN building blocks: plain `nn.Module`s whose cost is known exactly before they are trained.

They follow torchvision's conventions: `in_channels, out_channels, kernel_size, stride` by
position, all else by keyword; `norm_layer` and `activation_layer` are any callables, and `None`
drops the layer. Children are named `conv`, `norm`, `act` and `drop`. Shapes are
`(N, C, H, W)`; every block takes `device` and `dtype` as torch's own layers do.
"""

from torch.nn import MaxPool2d as MaxPool  # torch's own: a wrapper would add nothing

from .convolution import ConvBNReLU, Transition
from .heads import GAP, GlobalAveragePool
from .residual import Residual
from .separable import DepthwiseSeparable

__all__ = [
    "GAP",
    "ConvBNReLU",
    "DepthwiseSeparable",
    "GlobalAveragePool",
    "MaxPool",
    "Residual",
    "Transition",
]
