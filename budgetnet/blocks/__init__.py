"""CNN building blocks: plain `nn.Module`s with an exactly known cost.

They follow torchvision's conventions: `in_channels, out_channels, kernel_size, stride` by
position, everything else by keyword; `norm_layer` and `activation_layer` are any callables, and
`None` drops the layer. Children are named `conv`, `norm`, `act` and `drop`. Shapes are
`(N, C, H, W)`; every block takes `device` and `dtype` as torch's own layers do.
"""

# torch's own, where a wrapper would add nothing
from torch.nn import AvgPool2d as AvgPool
from torch.nn import MaxPool2d as MaxPool
from torch.nn import Upsample

from .concat import Concat
from .convolution import BNReLU, BNReLUConv, ConvBNReLU, Transition
from .decoder import UpBlock
from .dense import DenseBlock, DenseLayer
from .drop_path import DropPath
from .heads import GAP, Classifier, GlobalAveragePool, LinearBNReLU
from .inverted_residual import FusedInvertedResidual, InvertedResidual
from .residual import Residual
from .resnet import BasicBlock, Bottleneck
from .separable import DepthwiseSeparable
from .squeeze_excite import SqueezeExcite

__all__ = [
    "GAP",
    "AvgPool",
    "BNReLU",
    "BNReLUConv",
    "BasicBlock",
    "Bottleneck",
    "Classifier",
    "Concat",
    "ConvBNReLU",
    "DenseBlock",
    "DenseLayer",
    "DepthwiseSeparable",
    "DropPath",
    "FusedInvertedResidual",
    "GlobalAveragePool",
    "InvertedResidual",
    "LinearBNReLU",
    "MaxPool",
    "Residual",
    "SqueezeExcite",
    "Transition",
    "UpBlock",
    "Upsample",
]
