"""The options of spaces by name, for an input whose shorter side has so many pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LARGE = 64  # pixels from which on a network begins by halving its map


def _default(size: int) -> dict[str, Any]:
    """Small chains, or five stages of plain and separable convolutions from 64 pixels on."""
    if size < LARGE:
        return {}
    return {
        "widths": range(16, 513, 16), "kernels": (3, 5), "kinds": ("plain", "separable"),
        "paddings": "same", "convs": (5, 15), "stage_convs": (1, 3), "downsamples": 5,
        "downsampling": "stride", "transitions": False, "uniform": True,
    }  # fmt: skip


def _mobile(size: int) -> dict[str, Any]:
    """Inverted residuals in five stages, as once-for-all networks and MCUNet are drawn from."""
    return {
        "widths": range(8, 201, 8), "kernels": (3, 5, 7), "kinds": "inverted",
        "expansions": (3, 4, 6), "squeeze_excite": (0, 0.25), "activation": "relu6",
        "stem_widths": (8, 16, 24, 32), "stem_kernels": 3, "stem_stride": 1 + (size >= LARGE),
        "strides": (2, 2, 2, 1, 2), "stage_convs": (2, 4), "heads": "fc", "uniform": True,
    }  # fmt: skip


def _residual(size: int) -> dict[str, Any]:
    """Basic and bottleneck blocks in four stages, or in three on small images, as in ResNets."""
    large = size >= LARGE
    return {
        "widths": range(16, 513, 16) if large else range(8, 129, 8), "kernels": 3,
        "kinds": ("basic", "bottleneck"), "stem_kernels": (3, 7) if large else 3,
        "stem_stride": 1 + large, "strides": (2, 2, 2, 2) if large else (1, 2, 2),
        "stage_convs": (1, 4), "heads": "fc", "uniform": True,
    }  # fmt: skip


def _dense(size: int) -> dict[str, Any]:
    """Dense blocks with an average pooling between two of them, as in DenseNets."""
    large = size >= LARGE
    return {
        "widths": range(16, 257, 16) if large else range(8, 129, 8), "kernels": 3,
        "kinds": "dense", "growths": (4, 8, 12, 16, 24, 32), "dense_layers": (2, 3, 4, 6, 8, 12),
        "paddings": "same", "convs": (2, 6), "stage_convs": (1, 2), "monotone": False,
        "downsamples": (3, 5) if large else (1, 3), "transitions": False, "heads": "fc",
        "downsampling": ("average", "stride") if large else "average",
    }  # fmt: skip


PRESETS: dict[str, Callable[[int], dict[str, Any]]] = {
    "default": _default,
    "mobile": _mobile,
    "residual": _residual,
    "dense": _dense,
}
