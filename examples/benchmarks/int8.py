"""Write the shipped networks as int8 files, run these in TensorFlow Lite Micro, and count errors.

python examples/benchmarks/int8.py

Needs `pip install -e ".[litert,tflite,examples]"`. The scales come from training images; the
accuracy is that on all test images, of the files as they are written. A network that loses more
than 0.05 points trains one more epoch with the rounding of its file, and is measured again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import numpy as np
import torch
from aware import learn_rounding
from tflite_micro.python.tflite_micro import runtime
from torch import nn

import mnist_data
import run_folder
from budgetnet import account, models, to_tflite
from budgetnet.accounting.device.arena import activations
from budgetnet.accounting.device.scratch import reference_scratch
from budgetnet.deploy.tflite_micro import allocated
from budgetnet.trace.files.tflite import read_tflite
from recipes import Recipe

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "int8.json"
MOST_LOST = 0.05  # points
PACKAGES = ("litert-torch", "ai-edge-quantizer", "tflite-micro")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calibrate", type=int, default=512, help="training images for the scales")
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, weights in models.list_weights():
            key, file = f"{name}, {weights}", Path(folder, f"{name}.tflite")
            data = mnist_data.load(weights.replace("_", "-"))
            found[key] = measured(name, weights, data, args.calibrate, file)
            print(key, found[key], flush=True)
    run_folder.write_json(
        RESULTS,
        {
            "command": f"python examples/benchmarks/int8.py --calibrate {args.calibrate}",
            "networks": found,
            "versions": run_folder.versions() | {name: version(name) for name in PACKAGES},
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )


def measured(
    name: str, weights: str, data: mnist_data.Digits, calibrate: int, file: Path
) -> dict[str, Any]:
    """A shipped network in int8, and again after an epoch that knows of it, if that is needed."""
    shipped = models.get_weights(name, weights)
    net, shape = models.get_model(name, weights=shipped).eval(), shipped.meta["input_shape"]
    found = counted(name, net, tuple(shape), data, calibrate, file)
    if 100 * (found["float_correct"] - found["int8_correct"]) / len(data.test) > MOST_LOST:
        recipe = Recipe.read(shipped.meta["recipe"]["settings"])
        net = learn_rounding(net, tuple(shape), data, recipe)
        found["aware"] = counted(name, net, tuple(shape), data, calibrate, file)
    return {"model": name, "dataset": data.name, "images": len(data.test), **found}


def counted(
    name: str, net: nn.Module, shape: tuple[int, ...], data: mnist_data.Digits, calibrate: int,
    file: Path,
) -> dict[str, Any]:  # fmt: skip
    """Accuracy of a network and of its int8 file, and what the file takes."""
    test = data.test
    typical = data.train.normalise(data.train.images[:calibrate]).numpy()
    written = to_tflite(net, shape, file, calibrate=typical, name=name)
    assert written == account(file, name=name)
    pixels, model = test.normalise(test.images), read_tflite(file)
    real = allocated(file.read_bytes())
    assert real is not None
    with torch.no_grad():
        as_float = torch.cat([net(part) for part in pixels.split(500)]).argmax(1)
    as_int8 = predictions(file, pixels.movedim(1, -1).numpy())
    return {
        "float_correct": int((as_float == test.labels).sum()),
        "int8_correct": int((as_int8 == test.labels).sum()),
        "differ": int((as_float != as_int8).sum()),
        "params": written.params,
        "macs": written.macs,
        "weight_bytes": written.weight_bytes,
        "file_bytes": file.stat().st_size,
        "planned": activations(model, reference_scratch(model).requests).tflm_plan().size,
        "head": real[0],
        "tail": real[1],
    }


def predictions(file: Path, pixels: Any) -> torch.Tensor:
    """What the interpreter says of every image."""
    interpreter = runtime.Interpreter.from_bytes(file.read_bytes(), arena_size=1 << 20)
    slot = interpreter.get_input_details(0)["quantization_parameters"]
    stored = np.round(pixels / slot["scales"][0]) + slot["zero_points"][0]
    found = []
    for image in np.clip(stored, -128, 127).astype(np.int8):
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        found.append(int(interpreter.get_output(0).argmax()))
    return torch.tensor(found)


if __name__ == "__main__":
    main()
