"""`.tflite` files written from the schema alone, and random ones; what the real interpreter says.

It shares no code with the reader: a flatbuffer is laid out front to back, parents before children.
"""

import os
import re
import struct
import tempfile
from collections import deque
from dataclasses import dataclass, field

SHARED, LONG = ("i*", "shared"), 20_000


def flatbuffer(root, identifier=b"TFL3"):
    """The bytes of a table: a dict of field number to value.

    A value is a pair ("i", 5) of kind and number, or ("i*", [1, 2]) for a vector of them; or a str,
    bytes, another dict, or a list of dicts. `SHARED` is one long vector, at the end of the file.
    """
    data, waiting, shared = bytearray(4) + identifier, deque([(0, root)]), []
    while waiting:
        place, value = waiting.popleft()
        if value is SHARED:
            shared.append(place)
            continue
        at = _room(data, value)
        struct.pack_into("<I", data, place, at - place)
        if isinstance(value, dict):
            waiting += _table(data, at, value)
        elif isinstance(value, (bytes, str)):
            raw = value.encode() if isinstance(value, str) else value
            data += struct.pack("<I", len(raw)) + raw + bytes(isinstance(value, str))
        elif isinstance(value, tuple):
            kind, numbers = value
            data += struct.pack(f"<I{len(numbers)}{kind[0]}", len(numbers), *numbers)
        else:
            data += struct.pack("<I", len(value)) + bytes(4 * len(value))
            waiting += [(at + 4 + 4 * i, each) for i, each in enumerate(value)]
    for place in shared:
        struct.pack_into("<I", data, place, len(data) - place)
    return bytes(data) + (struct.pack("<I", LONG) + bytes(4 * LONG) if shared else b"")


def _room(data, value):
    """Pad so that what comes next is aligned; data of tensors to 16, as kernels want it."""
    alignment = 16 if isinstance(value, (bytes, tuple)) else 4
    before = 4 if alignment == 16 else 0
    data += bytes(-(len(data) + before) % alignment)
    if isinstance(value, dict):
        count = max(value, default=-1) + 1
        data += bytes(4 + 2 * count)  # the vtable
        data += bytes(-len(data) % 8)
    return len(data)


def _table(data, at, value):
    """Write a table, eight bytes for each field, and its vtable in front of it."""
    count = max(value, default=-1) + 1
    data += bytes(8 * (count + 1))
    vtable = at - (4 + 2 * count)  # `_room` has left it
    struct.pack_into("<i", data, at, at - vtable)
    offsets, links = [0] * count, []
    for number, content in value.items():
        offsets[number] = 8 * (number + 1)
        place = at + offsets[number]
        if isinstance(content, tuple) and not content[0].endswith("*"):
            struct.pack_into(f"<{content[0]}", data, place, content[1])
        else:
            links.append((place, content))
    struct.pack_into(f"<{2 + count}H", data, vtable, 4 + 2 * count, 8 * (count + 1), *offsets)
    return links


# Numbers of operators in `BuiltinOperator` and of their options in `BuiltinOptions`.
CODES = {
    "ADD": (0, 11), "AVERAGE_POOL_2D": (1, 5), "CONCATENATION": (2, 10), "CONV_2D": (3, 1),
    "DEPTHWISE_CONV_2D": (4, 2), "DEQUANTIZE": (6, 0), "FULLY_CONNECTED": (9, 8),
    "LOGISTIC": (14, 0), "MAX_POOL_2D": (17, 5), "MUL": (18, 21), "RELU": (19, 0),
    "RESHAPE": (22, 17), "SOFTMAX": (25, 9), "PAD": (34, 22), "MEAN": (40, 27), "SUB": (41, 28),
    "TRANSPOSE_CONV": (67, 49), "RESIZE_NEAREST_NEIGHBOR": (97, 74), "HARD_SWISH": (117, 0),
    "RELU6": (21, 0), "REDUCE_MAX": (82, 27), "TANH": (28, 0), "LEAKY_RELU": (98, 75),
    "GELU": (150, 116), "RESIZE_BILINEAR": (23, 15),
}  # fmt: skip
INT32, INT8 = 2, 9
KINDS = {"float32": 0, "int32": INT32, "int64": 4, "int16": 7, "int8": INT8}


@dataclass
class Net:
    """A network that is written operator by operator; tensors are numbered in any order at last."""

    random: object
    tensors: list = field(default_factory=list)  # shape, type, data, scale
    operators: list = field(default_factory=list)  # name, inputs, outputs, options
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)

    def tensor(self, shape, kind=INT8, data=b"", scale=0.5):
        self.tensors.append((tuple(shape), kind, data, scale))
        return len(self.tensors) - 1

    def weight(self, *shape):
        size = 1
        for n in shape:
            size *= n
        return self.tensor(shape, data=self.random.randbytes(size))

    def numbers(self, *values, scale=0.25):
        raw = struct.pack(f"<{len(values)}i", *values)
        return self.tensor((len(values),), INT32, raw, scale)

    def add(self, name, inputs, shape, options=None, scale=0.5):
        result = self.tensor(shape, scale=scale)
        self.operators.append((name, inputs, [result], options or {}))
        return result

    def shape(self, i):
        return self.tensors[i][0]

    def content(self, *, metadata=(), shuffle=True):
        """The bytes of the file."""
        order = list(range(len(self.tensors)))
        if shuffle:
            self.random.shuffle(order)
        number = {i: k for k, i in enumerate(order)} | {-1: -1}  # -1 is an input that is absent
        names = sorted({name for name, *_ in self.operators})
        buffers, tensors = [{}], []
        for i in order:
            shape, kind, data, scale = self.tensors[i]
            zero = -128 if scale == 1 / 256 else 0
            tensors.append({
                0: ("i*", shape), 1: ("b", kind), 2: ("I", len(buffers) if data else 0),
                3: f"tensor {i}", 4: {2: ("f*", [scale]), 3: ("q*", [zero])},
            })  # fmt: skip
            buffers += [{0: data}] if data else []
        operators = []
        for name, inputs, outputs, options in self.operators:
            table = {
                0: ("I", names.index(name)), 1: ("i*", [number[i] for i in inputs]),
                2: ("i*", [number[i] for i in outputs]),
            }  # fmt: skip
            if CODES[name][1]:
                table |= {3: ("B", CODES[name][1]), 4: options}
            operators.append(table)
        graph = {
            0: tensors, 1: ("i*", [number[i] for i in self.inputs]),
            2: ("i*", [number[i] for i in self.outputs]), 3: operators,
        }  # fmt: skip
        numbers = [CODES[n][0] for n in names]
        codes = [{0: ("b", min(n, 127)), 2: ("i", 1), 3: ("i", n)} for n in numbers]
        model = {0: ("I", 3), 1: codes, 2: [graph], 4: buffers}
        if metadata:
            model[6] = [
                {0: name, 1: ("I", len(buffers) + i)} for i, (name, _) in enumerate(metadata)
            ]
            buffers += [{0: data} for _, data in metadata]
        return flatbuffer(model)


def content_of(model):
    """A file of a lowered model: its tensors in their order, with zeros for weights."""
    net = Net(None)
    for tensor, scale in zip(model.tensors, _scales(model), strict=True):
        net.tensor(tensor.shape, KINDS[tensor.dtype], bytes(tensor.stored), scale)
    for operator in model.operators:
        shape, source = (
            model.tensors[i].shape for i in (operator.outputs[0], max(operator.inputs[0], 0))
        )
        settings = {
            "MEAN": range(1, len(source) - 1), "REDUCE_MAX": range(1, len(source) - 1),
            "RESHAPE": shape, "TRANSPOSE_CONV": shape, "RESIZE_NEAREST_NEIGHBOR": shape[1:3],
            "RESIZE_BILINEAR": shape[1:3],
        }.get(operator.name)  # fmt: skip
        inputs = list(operator.inputs)
        if settings is not None:
            place = 0 if operator.name == "TRANSPOSE_CONV" else 1
            inputs[place] = _set(net, inputs[place], settings)
        if operator.name == "PAD":
            _pad(net, inputs[1], source, shape)
        net.operators.append((operator.name, inputs, list(operator.outputs), _options(operator)))
        if operator.name == "MEAN":
            net.operators[-1][-1][0] = ("?", len(shape) == len(source))
    net.inputs, net.outputs = list(model.inputs), list(model.outputs)
    return net.content(shuffle=False)


# The scales that kernels want of their results.
SCALES = {
    "int8": {"SOFTMAX": 1 / 256, "LOGISTIC": 1 / 256, "TANH": 1 / 128},
    "int16": dict.fromkeys(("SOFTMAX", "LOGISTIC", "TANH"), 1 / 32768),
}
KEEPING = (  # its input's scale
    "AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D", "PAD", "REDUCE_MAX", "RESHAPE",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
)  # fmt: skip
BIASED = {  # which inputs are map, weight and bias
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), (0, 1, 2)),
    "TRANSPOSE_CONV": (2, 1, 3),
}


def _scales(model):
    """A scale for every tensor; a bias has that of map and weight multiplied."""
    given = {
        i: SCALES.get(model.tensors[i].dtype, {}).get(operator.name)
        for operator in model.operators
        for i in operator.outputs
    }
    fixed, before = {i: scale for i, scale in given.items() if scale}, None
    while before != len(fixed):  # concatenated maps have one, and so has what keeps its input's
        before = len(fixed)
        for operator in model.operators:
            read = operator.inputs if operator.name == "CONCATENATION" else operator.inputs[:1]
            tied = (*read, *operator.outputs) if operator.name in KEEPING else ()
            for scale in [fixed[i] for i in tied if i in fixed][:1]:
                fixed |= {i: fixed.get(i, scale) for i in tied}
    scales = [fixed.get(i, 0.5) for i in range(len(model.tensors))]
    for operator in model.operators:
        places = BIASED.get(operator.name, ())
        if places and len(operator.inputs) > max(places):
            source, weight, bias = (operator.inputs[place] for place in places)
            scales[bias] = scales[source] * scales[weight]
    return scales


def _set(net, i, numbers):
    raw = struct.pack(f"<{len(numbers)}i", *numbers)
    net.tensors[i] = ((len(numbers),), INT32, raw, 0.5)
    return i


def _pad(net, i, source, shape):
    pairs = [n for a, b in zip(source, shape, strict=True) for n in (0, b - a)]
    net.tensors[i] = ((len(source), 2), INT32, struct.pack(f"<{len(pairs)}i", *pairs), 0.5)


def _options(operator):
    options, name = operator.options, operator.name
    window = {0: ("b", options.padding == "valid"), 1: ("i", options.stride[1]),
              2: ("i", options.stride[0])}  # fmt: skip
    high, wide = options.dilation
    if name == "CONV_2D":
        return window | {4: ("i", wide), 5: ("i", high)}
    if name == "DEPTHWISE_CONV_2D":
        return window | {3: ("i", 1), 5: ("i", wide), 6: ("i", high)}
    if name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        return window | {3: ("i", options.kernel[1]), 4: ("i", options.kernel[0])}
    if name == "TRANSPOSE_CONV":
        return {0: ("b", 0), 1: ("i", 2), 2: ("i", 2)}
    return {"CONCATENATION": {0: ("i", -1)}, "SOFTMAX": {0: ("f", 1.0)}}.get(name, {})


def slide(size, kernel, stride, same):
    """The length of an output along one axis."""
    return -(-size // stride) if same else (size - kernel) // stride + 1


def step(net, i, random):
    """Add an operator that reads the map i, if it fits; returns its result."""
    _, height, width, channels = net.shape(i)
    what = random.choice(["conv", "conv", "depthwise", "pool", "add", "concat", "pad", "resize",
                          "logistic", "relu", "transposed", "mul"])  # fmt: skip
    kernel = min(random.choice([1, 2, 3]), height, width)
    stride, same = random.choice([1, 1, 2]), random.random() < 0.6
    size = (slide(height, kernel, stride, same), slide(width, kernel, stride, same))
    window = {0: ("b", 0 if same else 1), 1: ("i", stride), 2: ("i", stride)}
    others = [j for j in net.maps if net.shape(j)[:3] == net.shape(i)[:3] and j != i]
    if what == "conv":
        out = random.randint(1, 12)
        parts = [i, net.weight(out, kernel, kernel, channels), net.numbers(*[0] * out)]
        options = window | {3: ("b", random.choice([0, 1, 3]))}
        return net.add("CONV_2D", parts, (1, *size, out), options)
    if what == "depthwise":
        parts = [i, net.weight(1, kernel, kernel, channels), net.numbers(*[0] * channels)]
        options = window | {3: ("i", 1)}
        return net.add("DEPTHWISE_CONV_2D", parts, (1, *size, channels), options)
    if what == "pool":
        name = random.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"])
        options = window | {3: ("i", kernel), 4: ("i", kernel)}
        return net.add(name, [i], (1, *size, channels), options)
    if what in ("add", "mul"):
        alike = [j for j in others if net.shape(j) == net.shape(i)] or [i]
        return net.add(what.upper(), [i, random.choice(alike)], net.shape(i))
    if what == "concat":
        parts = [i, *random.sample(others, min(len(others), random.randint(1, 3)))]
        total = sum(net.shape(j)[3] for j in parts)
        return net.add("CONCATENATION", parts, (1, height, width, total), {0: ("i", 3)})
    if what == "pad":
        amounts = net.tensor((4, 2), INT32, struct.pack("<8i", 0, 0, 1, 0, 0, 1, 0, 0))
        return net.add("PAD", [i, amounts], (1, height + 1, width + 1, channels))
    if what == "resize" and height * width < 100:
        target = net.numbers(2 * height, 2 * width)
        shape = (1, 2 * height, 2 * width, channels)
        return net.add("RESIZE_NEAREST_NEIGHBOR", [i, target], shape)
    if what == "transposed" and height * width < 100:
        out = random.randint(1, 4)
        shape = (1, 2 * height, 2 * width, out)
        options = {0: ("b", 0), 1: ("i", 2), 2: ("i", 2)}
        parts = [net.numbers(*shape), net.weight(out, 3, 3, channels), i]
        return net.add("TRANSPOSE_CONV", parts, shape, options)
    if what == "relu":
        return net.add("RELU", [i], net.shape(i))
    return None


def random_net(random, steps):
    """A network with branches, of int8; returns it, its tensors not yet numbered."""
    net = Net(random)
    net.maps = []
    for _ in range(random.choice([1, 1, 1, 2])):
        size = random.randint(3, 12)
        net.maps.append(net.tensor((1, size, size, random.randint(1, 6))))
    net.inputs = list(net.maps)
    while len(net.operators) < steps:
        result = step(net, random.choice(net.maps[-4:]), random)
        if result is not None:
            net.maps.append(result)
    last = net.maps[-1]
    if random.random() < 0.6:
        axes = net.numbers(1, 2)
        last = net.add("MEAN", [last, axes], (1, net.shape(last)[3]), {0: ("?", False)})
        parts = [last, net.weight(5, net.shape(last)[1]), net.numbers(*range(5))]
        last = net.add("FULLY_CONNECTED", parts, (1, 5))
        last = net.add("SOFTMAX", [last], (1, 5), {0: ("f", 1.0)}, scale=1 / 256)
    net.outputs = [last]
    if random.random() < 0.3:
        net.outputs += [i for i in [random.choice(net.maps)] if i != last]
    if random.random() < 0.2:
        net.tensor((1, random.randint(1, 3000)))  # that nothing uses
    return net


@dataclass
class Real:
    """What the real interpreter says of a file."""

    interpreter: object
    head: int
    tail: int

    def run(self, seed=0):
        """The outputs for inputs drawn from a seed."""
        import numpy as np

        draw = np.random.default_rng(seed)
        results, i = [], 0
        for i in range(100):
            try:
                slot = self.interpreter.get_input_details(i)
            except Exception:  # there is no further input
                break
            values = draw.integers(-128, 128, size=slot["shape"]).astype(slot["dtype"])
            self.interpreter.set_input(values, i)
        self.interpreter.invoke()
        for i in range(100):
            try:
                results.append(self.interpreter.get_output(i).tolist())
            except Exception:  # there is no further output
                break
        return results


def interpret(content, arena=1 << 22):
    """Load a file into TensorFlow Lite Micro, and read what it prints of its arena."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)  # it prints from C++
        try:
            interpreter.print_allocations()
        finally:
            os.dup2(before, 2)
            os.close(before)
        file.seek(0)
        said = file.read().decode()
    head, tail = (int(re.search(rf"{part} (\d+) bytes", said)[1]) for part in ("head", "tail"))
    return Real(interpreter, head, tail)
