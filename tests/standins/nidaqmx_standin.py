"""A stand-in of the parts of nidaqmx that we use, over a card that converts when a test says so.

Names, arguments and errors are the package's (1.7); what the card does is what its documentation
says: a buffer that is never overwritten, reads that fill rows, and errors that end a task.
"""

from __future__ import annotations

import enum
import sys
from types import ModuleType

import numpy as np

from tests.digitizer_server import values

NO_LONGER_AVAILABLE, NOT_YET_AVAILABLE, INVALID_DEVICE = -200279, -200284, -200220
NOT_FOUND = "Could not find an installation of NI-DAQmx."


class Error(Exception):
    pass


class DaqNotFoundError(Error):
    pass


class DaqError(Error):
    def __init__(self, message, error_code, task_name=""):
        super().__init__(f"{message}\n\nTask Name: {task_name}\n\nStatus Code: {error_code}")
        self.error_code = error_code


class DaqReadError(DaqError):
    def __init__(self, message, error_code, samps_per_chan_read, task_name=""):
        super().__init__(message, error_code, task_name)
        self.samps_per_chan_read = samps_per_chan_read


class TerminalConfiguration(enum.Enum):
    RSE = 10083
    NRSE = 10078
    DIFF = 10106
    PSEUDO_DIFF = 12529
    DEFAULT = -1


class AcquisitionType(enum.Enum):
    FINITE = 10178
    CONTINUOUS = 10123


class NiCard:
    """One card, and the driver's tasks on it."""

    def __init__(self, name="Dev1", product="PXIe-6358"):
        self.name, self.product = name, product
        self.is_driver_there = True
        self.rate_hz = None  # what it makes of the rate that it is asked for; None: the same
        self.scaling = [1e-4, 3.2e-4, -2e-12, 1e-17]
        self.tasks = []

    @property
    def task(self):
        return self.tasks[-1]

    def check_name(self, name):
        if name != self.name:
            raise DaqError("Device identifier is invalid.", INVALID_DEVICE)


class _Channel:
    def __init__(self, task, name):
        self._task, self.name = task, name

    @property
    def ai_dev_scaling_coeff(self):
        return list(self._task.card.scaling)


class _Channels:
    def __init__(self, task):
        self._task = task
        self.added = []

    def add_ai_voltage_chan(
        self,
        physical_channel,
        name_to_assign_to_channel="",
        terminal_config=TerminalConfiguration.DEFAULT,
        min_val=-5.0,
        max_val=5.0,
        units=None,
        custom_scale_name="",
    ):
        device, _, name = physical_channel.partition("/")
        self._task.card.check_name(device)
        self.added.append((name, terminal_config, min_val, max_val))
        return _Channel(self._task, name)


class _Timing:
    def __init__(self, task):
        self._task = task

    def cfg_samp_clk_timing(
        self,
        rate,
        source="",
        active_edge=None,
        sample_mode=AcquisitionType.FINITE,
        samps_per_chan=1000,
    ):
        self.rate, self.source, self.sample_mode = rate, source, sample_mode
        self._task.in_stream.input_buf_size = samps_per_chan

    @property
    def samp_clk_rate(self):
        return self._task.card.rate_hz or self.rate


class _InStream:
    def __init__(self, task):
        self._task = task
        self.input_buf_size = 0

    @property
    def avail_samp_per_chan(self):
        self._task.check()
        return self._task.converted - self._task.read_until


class Task:
    card: NiCard

    def __init__(self, new_task_name="", *, grpc_options=None):
        if not self.card.is_driver_there:
            raise DaqNotFoundError(NOT_FOUND)
        self.ai_channels, self.timing = _Channels(self), _Timing(self)
        self.in_stream = _InStream(self)
        self.converted = self.read_until = 0
        self.is_started = self.is_closed = False
        self.failure = None
        self.card.tasks.append(self)

    def produce(self, n_samples):
        """Convert samples; what does not fit into the buffer ends the task."""
        self.converted += n_samples
        if self.converted - self.read_until > self.in_stream.input_buf_size:
            self.fail(NO_LONGER_AVAILABLE)

    def fail(self, code):
        self.failure = self.failure or code

    def check(self):
        assert self.is_started
        self.stop()

    def start(self):
        self.is_started = True

    def stop(self):
        assert not self.is_closed
        if self.failure:
            raise DaqError("The application is not able to keep up.", self.failure, "_unnamed<0>")

    def close(self):
        self.is_closed = True


class AnalogUnscaledReader:
    def __init__(self, task_in_stream):
        self._task = task_in_stream._task

    def read_int16(self, data, number_of_samples_per_channel=-1, timeout=10.0):
        task, n = self._task, number_of_samples_per_channel
        task.check()
        assert data.dtype == np.int16
        assert data.flags.c_contiguous
        assert data.shape == (len(task.ai_channels.added), n)
        if task.converted - task.read_until < n:
            raise DaqReadError("Some or all of the samples are not there.", NOT_YET_AVAILABLE, 0)
        data[:] = values(task.read_until, task.read_until + n, data.shape[0])
        task.read_until += n
        return n


class Device:
    card: NiCard

    def __init__(self, name):
        self._name = name

    @property
    def product_type(self):
        if not self.card.is_driver_there:
            raise DaqNotFoundError(NOT_FOUND)
        self.card.check_name(self._name)
        return self.card.product


PARTS = {
    "nidaqmx": (),
    "nidaqmx.constants": (TerminalConfiguration, AcquisitionType),
    "nidaqmx.errors": (Error, DaqNotFoundError, DaqError, DaqReadError),
    "nidaqmx.stream_readers": (AnalogUnscaledReader,),
    "nidaqmx.system": (),
}


def install(monkeypatch, card):
    """Have `import nidaqmx` find this; its tasks run on `card`."""
    for name, classes in PARTS.items():
        module = ModuleType(name)
        for kind in classes:
            setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, name, module)
    for name, kind in (("nidaqmx", Task), ("nidaqmx.system", Device)):
        setattr(sys.modules[name], kind.__name__, type(kind.__name__, (kind,), {"card": card}))
