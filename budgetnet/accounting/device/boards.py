"""Boards: how much flash and RAM they have, and which kernels their core runs."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import ArgumentError, did_you_mean, explain, shown


class Board(NamedTuple):
    """A microcontroller, or a board with one.

    Attributes:
        flash: bytes for the program and all weights.
        ram: bytes of SRAM, for everything.
        core: an Arm Cortex-M.
        source: where the numbers are from.
    """

    flash: int
    ram: int
    core: str
    source: str

    @property
    def kernels(self) -> str:
        """The kernels of CMSIS-NN for its core; the M4, M7 and M33 here have the DSP extension."""
        return "cmsis-nn" if self.core in ("M4", "M7", "M33") else "cmsis-nn without dsp"


_KB = 1024
BOARDS = {
    "nrf52840": Board(1024 * _KB, 256 * _KB, "M4", "Nordic nRF52840 Product Specification"),
    "pico": Board(2048 * _KB, 264 * _KB, "M0+", "Raspberry Pi Pico Datasheet, RP2040 Datasheet"),
    "pico2": Board(4096 * _KB, 520 * _KB, "M33", "Raspberry Pi Pico 2 and RP2350 Datasheets"),
    "stm32f103c8": Board(64 * _KB, 20 * _KB, "M3", "STMicroelectronics DS5319"),
    "stm32f446": Board(512 * _KB, 128 * _KB, "M4", "STMicroelectronics DS10693 (STM32F446xE)"),
    "stm32f746": Board(1024 * _KB, 320 * _KB, "M7", "STMicroelectronics DS10916 (STM32F746xG)"),
    "stm32l476": Board(1024 * _KB, 128 * _KB, "M4", "STMicroelectronics DS10198 (STM32L476xG)"),
    "stm32l4r5": Board(2048 * _KB, 640 * _KB, "M4", "STMicroelectronics DS12023 (STM32L4R5xI)"),
}


def board_named(name: object) -> Board:
    """The board of a name; raises `ArgumentError` with the nearest one.

    >>> board_named("stm32f446").ram
    131072
    """
    if not isinstance(name, str) or name.lower() not in BOARDS:
        what = f"{shown(name)} is not a board that is known here"
        remedy = f"{did_you_mean(name, BOARDS)} For another, give flash and ram."
        raise ArgumentError(explain(what, remedy=remedy))
    return BOARDS[name.lower()]
