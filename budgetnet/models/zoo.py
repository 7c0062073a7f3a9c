"""Build specs into blocks, and the named reference networks.

torch is imported only when a network is built, so that names and specs are at hand without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, SpecError, explain, shown
from ..spec.plan import Spec, SpecLike, as_spec
from ..spec.references import Reference, get_reference, list_models
from . import weights as shipped

if TYPE_CHECKING:
    from torch import nn


def list_weights(name: str | None = None) -> list[tuple[str, str]]:
    """Pairs of model and weights that ship with the library, of one model or of all.

    Each is a call: `get_model(*pair)`, `get_weights(*pair)`.

    Raises:
        ArgumentError: no network has this name; the message lists near ones.

    >>> ("s6", "mnist") in list_weights("s6")
    True
    """
    if name is not None:
        get_reference(name)
    return [pair for pair in shipped.find_weights() if name in (None, pair[0])]


def get_weights(name: str, weights: str) -> shipped.Weights:
    """The shipped weights of a named network: what they are, and how to feed them.

    The tensors are read when `state_dict` is called, and not before.

    Raises:
        ArgumentError: there is no such network, or it has no such weights; the message lists both.
        WeightsError: the sidecar is damaged or belongs to another network.

    >>> get_weights("s6", "mnist").meta["dataset"]["name"]
    'MNIST'
    """
    return shipped.load(name, weights)


def get_model(
    name: str, weights: str | shipped.Weights | None = None, **kwargs: Any
) -> nn.Sequential:
    """Build a named network, with fresh weights or with shipped ones; `kwargs` as in `build`.

    As in torchvision, the network comes in training mode either way: call `eval()` to predict.

    Args:
        name: one of `list_models`.
        weights: the name of shipped weights, or what `get_weights` returned; `None` leaves the
            weights random.
        kwargs: as in `build`.

    Raises:
        ArgumentError: there is no such network, or it has no such weights.
        WeightsError: the file is damaged or does not fit the network. Nothing is ever unpickled.

    >>> sum(p.numel() for p in get_model("s6").parameters())
    14372
    >>> get_model("s6", weights="mnist").training
    True
    """
    reference = _known(name)
    others = [key for key in kwargs if key not in ("device", "dtype")]
    if others:
        what = f"get_model has no argument {others[0]!r}"
        numbers = {"expected": "name, weights, device, dtype"}
        raise ArgumentError(explain(what, numbers=numbers, remedy=_choice(name)))
    if weights is None:
        return build(reference.spec, reference.input_shape, **kwargs)
    chosen = get_weights(name, weights) if isinstance(weights, str) else weights
    if not isinstance(chosen, shipped.Weights):
        what = f"weights={shown(weights)} is not the name of weights"
        raise ArgumentError(explain(what, remedy=_choice(name)))
    if chosen.model != name:
        raise ArgumentError(
            explain(
                f"these weights are not for {name!r}",
                numbers={"weights": chosen.stem},
                remedy=f"Build {chosen.model!r}, or name weights of {name!r}.",
            )
        )
    tensors = chosen.state_dict()
    net = build(reference.spec, reference.input_shape, **kwargs)
    shipped.copy_tensors(net, tensors, chosen.stem)
    return net


def _known(name: Any) -> Reference:
    """The network of a name; the error for a spec says what builds it."""
    if name not in list_models() and isinstance(name, str | Spec):
        with suppress(SpecError):
            what = f"{shown(str(as_spec(name)))} is a spec, not the name of a network"
            raise ArgumentError(explain(what, remedy="Pass it to models.build(spec, channels)."))
    return get_reference(name)


def _choice(name: str) -> str:
    """What to pass as weights of a network."""
    known = [f'weights="{weights}"' for _, weights in list_weights(name)]
    return (
        f"Pass {' or '.join(known)}, or none for random weights."
        if known
        else (f"No weights of {name} are shipped: leave them out.")
    )


def build(
    spec: SpecLike,
    in_channels: int | Sequence[int] = 1,
    *,
    device: Any = None,
    dtype: Any = None,
) -> nn.Sequential:
    """Build a spec into blocks: an `nn.Sequential` whose children are named as `plan` names them.

    Args:
        spec: a `Spec`, its text form, or the name of a reference network.
        in_channels: channels of the input, or its shape `(C, H, W)`, which a spec needs that
            flattens a map.
        device: as in torch's layers.
        dtype: as in torch's layers.

    >>> [name for name, _ in build("c8 p gap10").named_children()]
    ['conv1', 'pool1', 'head']
    """
    from ..trace.built import built

    return built(as_spec(spec), in_channels, device=device, dtype=dtype)
