"""A stand-in of the parts of spcm that we use, over a card that converts when a test says so.

Names, arguments, registers and errors are the package's (1.13); what the card does is what its
manual says: it fills the ring, interleaved, stops at what was not released, then fills its own
memory, and overruns; it tells of whole notify sizes only.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

from tests.digitizer_server import values

M2CMD, M2STATUS, OVERRUN = 100, 110, 0x400
START, ENABLE_TRIGGER, START_DMA, WAIT_DMA = 0x4, 0x8, 0x10000, 0x20000
ENABLED, SAMPLE_RATE, BYTES_PER_SAMPLE, LARGEST_COUNT = 11000, 20000, 1120, 1126
USER_LEN, USER_POS, CARD_LEN = 200, 201, 202
NO_DRIVER = "The Spectrum Instrumentation device driver is not found..."


class SpcmError:
    def __init__(self, handle=None, register=None, value=None, text=None):
        self.text = text

    def __str__(self):
        return str(self.text)


class SpcmException(Exception):  # noqa: N818 - its name in spcm
    def __init__(self, error=None, register=None, value=None, text=None):
        super().__init__()
        self.error = error or SpcmError(text=text)

    def __str__(self):
        return str(self.error)


class SpcmTimeout(Exception):  # noqa: N818 - its name in spcm
    pass


class SpcmDeviceNotFound(SpcmException):
    pass


class SpectrumBoard:
    """The hardware: a ring in the computer, its own memory behind it, and its registers."""

    def __init__(self, resource="/dev/spcm0", product="M2p.5968-x4", own_memory=10_000):
        self.resource, self.product, self.own_memory = resource, product, own_memory
        self.rate_hz = None  # what it makes of the rate that it is asked for; None: the same
        self.n_open = self.n_opened = 0
        self.plug()

    def plug(self):
        """As after a reset: nothing converted, nothing wrong."""
        self.registers = {BYTES_PER_SAMPLE: 2, LARGEST_COUNT: 32767}
        self.commands = []
        self.flat = None  # the ring, as it lies in memory
        self.notify = 1
        self.converted = self.written = self.released = 0
        self.failure = ""
        self.status = 0

    @property
    def n_channels(self):
        return bin(self.registers[ENABLED]).count("1")

    def produce(self, n_samples):
        self.converted += n_samples
        self.transfer()
        if self.converted - self.written > self.own_memory:
            self.failure, self.status = "FIFO HW overrun", OVERRUN

    def transfer(self):
        """Fill the ring as far as it was released."""
        if self.failure:
            return
        ring = len(self.flat) // self.n_channels
        stop = min(self.converted, self.released + ring)
        at = np.arange(self.written, stop) % ring
        rows = self.flat.reshape(-1, self.n_channels)
        rows[at] = values(self.written, stop, self.n_channels).T
        self.written = stop

    @property
    def available(self):
        """Samples that the card has told of and that were not released."""
        return (self.written - self.released) // self.notify * self.notify


class Card:
    board: SpectrumBoard

    def __init__(self, device_identifier="", handle=False, **kwargs):
        self._identifier = device_identifier
        self._closed = True

    def open(self, device_identifier=None):
        if self._identifier != self.board.resource:
            raise SpcmDeviceNotFound(SpcmError(text=f"{self._identifier} not found..."))
        self.board.plug()
        self.board.n_open += 1
        self.board.n_opened += 1
        self._closed = False
        return self

    def close(self):
        if not self._closed:
            self.cmd(0x40 | 0x40000)
            self.close_handle()

    def close_handle(self):
        self.board.n_open -= 1
        self._closed = True

    def product_name(self):
        return self.board.product

    def set_i(self, register, value):
        self._check()
        if register == CARD_LEN:
            self.board.released += value // (2 * self.board.n_channels)
            self.board.transfer()
        elif register == M2CMD:
            self.board.commands.append(value)
        else:
            self.board.registers[register] = int(value)

    def get_i(self, register):
        if self._closed:
            raise SpcmException(text="The connection to the card has been closed.")
        board = self.board
        if register == M2STATUS:
            return board.status
        if register == SAMPLE_RATE and board.rate_hz:
            return board.rate_hz
        ring = 1 if board.flat is None else len(board.flat) // board.n_channels
        frame = 2 * board.n_channels if ENABLED in board.registers else 1
        if register in (USER_LEN, USER_POS):
            samples = {USER_LEN: board.available, USER_POS: board.released % ring}[register]
            return samples * frame
        return board.registers[register]

    def cmd(self, *args):
        self.set_i(M2CMD, sum(args))

    def start(self, *args):
        self.cmd(START, *args)

    def _check(self):
        if self._closed:
            raise SpcmException(text="The connection to the card has been closed.")
        if self.board.failure:
            raise SpcmException(SpcmError(text=self.board.failure))


class DataTransfer:
    def __init__(self, card, *args, **kwargs):
        self.card = card

    def allocate_buffer(self, num_samples, no_reshape=False):
        n_channels = self.card.board.n_channels
        self._flat = np.zeros(num_samples * n_channels, np.int16)
        self.buffer = self._flat.reshape((n_channels, -1), order="F")

    def start_buffer_transfer(
        self,
        *args,
        buffer_type=1000,
        direction=None,
        notify_samples=None,
        transfer_offset=None,
        transfer_length=None,
        exception_num_samples=False,
    ):
        board = self.card.board
        assert 2 * board.n_channels * notify_samples % 4096 == 0
        assert self.buffer.shape[1] % notify_samples == 0
        board.flat, board.notify = self._flat, notify_samples
        self.card.cmd(*args)

    def wait_dma(self):
        self.card.cmd(WAIT_DMA)
        if not self.card.board.available:
            raise SpcmTimeout("A card timeout occured")

    def avail_user_len(self, in_bytes=False):
        return self.card.get_i(USER_LEN) // (2 * self.card.board.n_channels)

    def avail_user_pos(self, in_bytes=False):
        return self.card.get_i(USER_POS) // (2 * self.card.board.n_channels)

    def avail_card_len(self, available_samples=0):
        self.card.set_i(CARD_LEN, 2 * self.card.board.n_channels * available_samples)


def install(monkeypatch, board):
    """Have `import spcm` find this; its cards are `board`."""
    module = ModuleType("spcm")
    for kind in (SpcmError, SpcmException, SpcmTimeout, SpcmDeviceNotFound, DataTransfer):
        setattr(module, kind.__name__, kind)
    module.Card = type("Card", (Card,), {"board": board})
    monkeypatch.setitem(sys.modules, "spcm", module)
