"""Named networks, their weights, and modules built from specs. Imports torch only to build."""

from __future__ import annotations

from ..spec.references import Reference, get_reference, list_models
from .conversion import convert_state_dict
from .zoo import build, get_model, get_weights, list_weights

__all__ = [
    "Reference",
    "build",
    "convert_state_dict",
    "get_model",
    "get_reference",
    "get_weights",
    "list_models",
    "list_weights",
]
