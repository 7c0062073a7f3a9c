"""The tables of the results pages that tell of training memory."""

from __future__ import annotations

from raw_results import markdown, read, source


def training_memory() -> str:
    """What is told of every network beside what a real step keeps and allocates."""
    result = read("training_memory")
    rows = [
        (name, "x".join(map(str, found["input"])),
         *(f"{found[key]:,}" for key in ("told_saved", "saved", "told_peak", "allocated_peak")),
         f"{found['allocated_peak'] / found['told_peak'] - 1:.2%}".replace("%", " %"))
        for name, found in result["networks"].items()
    ]  # fmt: skip
    columns = [
        "network", "input", "saved, told", "saved, real", "peak, told", "peak, allocated", "more",
    ]  # fmt: skip
    return f"{markdown(columns, rows)}\n\n{source('training_memory', result)}"


def training_agreement(kind: str = "training_memory") -> str:
    """On how many networks every saved byte is as told, and how far the allocator is above."""
    found = read(kind)["networks"].values()
    exact = sum(each["told_saved"] == each["saved"] for each in found)
    below = sum(each["told_peak"] <= each["allocated_peak"] for each in found)
    most = max(each["allocated_peak"] / each["told_peak"] - 1 for each in found)
    return (
        f"Saved bytes are exact on {exact} of {len(found)}; the told peak is at most the allocated "
        f"one on {below}, which is up to {100 * most:.1f} % above"
    )


def training_on_gpu() -> str:
    """What a GPU keeps and allocates where the library tells of the CPU."""
    result = read("training_memory_cuda")
    found = result["networks"]
    other = {n: f["saved"] - f["told_saved"] for n, f in found.items()}
    less = [name for name, more in other.items() if more < 0]
    more = [name for name, more in other.items() if more > 0]
    rows = [
        (name, *(f"{each[key]:,}" for key in ("told_saved", "saved", "told_peak",
                                              "allocated_peak")),
         f"{100 * (each['allocated_peak'] / each['told_peak'] - 1):.1f} %")
        for name, each in found.items()
    ]  # fmt: skip
    columns = ["network", "saved, told", "saved, GPU", "peak, told", "peak, GPU", "more"]
    text = f"{training_agreement('training_memory_cuda')}. Less is saved for {', '.join(less)}"
    if more:
        text += f", more for {', '.join(more)}"
    return f"{text}.\n\n{markdown(columns, rows)}\n\n{source('training_memory_cuda', result)}"
