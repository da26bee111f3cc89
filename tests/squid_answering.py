"""Answers a SQUID's procedures by its equations, at once: no sockets, no time.

V-phi is that of the simulated world; the loop here is the ideal one, which holds the flux at the
lock point nearest to where it was closed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from daq.errors import NotConnectedError, OutOfRangeError, ScheeliteError
from daq.readout.requests import (
    All,
    AnyAnswer,
    AnyRequest,
    Average,
    Averaged,
    Begin,
    Do,
    Done,
    End,
    Get,
    Held,
    Offer,
    Offered,
    Offers,
    Put,
    Say,
    Several,
    Silence,
    Simple,
    SimpleAnswer,
    Take,
    Taken,
    Value,
    Wait,
    failed,
)
from sim_hardware.world.squid_parameters import SquidParameters
from tests.wired_bench import LSB_V

RATE_HZ = 20e3
OFFERS = {
    "mode": Offer(choices=("OPEN", "LOCKED")),
    "bias": Offer(0.0, 180e-6),
    "flux": Offer(-124.4e-6, 124.4e-6),
    "offset": Offer(0.0, 1300e-6),
    "feedback": Offer(choices=(3e3, 30e3)),
}


@dataclass
class SquidDevice:
    """One SQUID with its electronics; `depth` is what trapped flux leaves of its modulation."""

    p: SquidParameters = field(default_factory=SquidParameters)
    external_phi0: float = 0.13
    depth: float = 1.0
    offered: Offered = field(default_factory=lambda: Offered(OFFERS, ("reset_loop", "heat")))
    held: dict[str, Value] = field(
        default_factory=lambda: {
            "mode": "OPEN", "bias": 0.0, "flux": 0.0, "offset": 0.0, "feedback": 30e3,
        }
    )  # fmt: skip
    gain_error: float = 1.0  # of the locked loop
    frozen: bool = False
    heatings: int = 0
    quanta: int = 0

    def put(self, name: str, value: Value) -> Held:
        self._refuse(name, value)
        before = self.held["mode"]
        self.held[name] = value
        if name == "mode" and value == "LOCKED" and before != value:
            self._lock()
        return Held(value)

    def _refuse(self, name: str, value: Value) -> None:
        offer = self.offered.values[name]
        if not isinstance(value, float) or offer.minimum is None or offer.maximum is None:
            return
        if not offer.minimum <= value <= offer.maximum:
            raise OutOfRangeError(f"{name}: {value:g} is outside what is offered")

    def do(self, action: str) -> None:
        if action == "heat":
            self.heatings, self.depth, self.held["mode"] = self.heatings + 1, 1.0, "OPEN"
        else:
            self.held["mode"] = "LOCKED"
            self._lock()

    def volts(self, n: int, rng: np.random.Generator) -> np.ndarray:
        if self.held["mode"] == "OPEN":
            mean, noise = self.p.open_gain * (self._squid_v - self._number("offset")), 3e-4
        else:
            per_phi0 = self._number("feedback") * self.p.feedback_a_per_phi0 * self.gain_error
            mean, noise = per_phi0 * (self._phi0 - self._lock_phi0 - self.quanta), 3e-3
        if self.frozen:
            return np.full(n, 0.1)
        return np.asarray(mean + rng.normal(0.0, noise, n))

    def _lock(self) -> None:
        self.quanta = round(self._phi0 - self._lock_phi0)

    @property
    def _phi0(self) -> float:
        return self._number("flux") / self.p.feedback_a_per_phi0 + self.external_phi0

    @property
    def _squid_v(self) -> float:
        bias_a = self._number("bias")
        middle = self.p.middle_v(bias_a)
        return middle + self.depth * (float(self.p.v_phi(self._phi0, bias_a)) - middle)

    @property
    def _lock_phi0(self) -> float:
        """On the rising side, where the voltage is that which is subtracted."""
        phi0 = np.linspace(-0.25, 0.25, 2001)
        volts = self.p.v_phi(phi0, self._number("bias"))
        return float(np.interp(self._number("offset"), volts, phi0))

    def _number(self, name: str) -> float:
        value = self.held[name]
        assert isinstance(value, float)
        return value


class Answering:
    """Answers for some detectors; what was said is kept, and `cut` makes the wire fail."""

    def __init__(self, devices: dict[str, SquidDevice]) -> None:
        self.devices = devices
        self.ended: list[End] = []
        self.n_asked, self.cut = 0, False
        self.waited_s = 0.0
        self.silenced: list[Silence] = []
        self._rng = np.random.default_rng(3)

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        if isinstance(request, All):
            return Several(tuple(self._tried(each) for each in request.requests))
        return self._one(request)

    def _tried(self, request: Simple) -> SimpleAnswer:
        try:
            return self._one(request)
        except ScheeliteError as error:
            return failed(error)

    def _one(self, request: Simple) -> SimpleAnswer:
        self.n_asked += 1
        if self.cut and isinstance(request, Put):
            raise NotConnectedError("the line is cut")
        if isinstance(request, End):
            self.ended.append(request)
        if isinstance(request, Wait):
            self.waited_s += request.seconds
        if isinstance(request, Silence):
            self.silenced.append(request)
        if isinstance(request, Begin | End | Say | Silence | Wait):
            return Done()
        device = self.devices[request.at]
        if isinstance(request, Offers):
            return device.offered
        if isinstance(request, Put):
            return device.put(request.name, request.value)
        if isinstance(request, Get):
            return Held(device.held[request.name])
        if isinstance(request, Do):
            device.do(request.action)
            return Done()
        assert isinstance(request, Average | Take)
        return self._sampled(request, device)

    def _sampled(self, request: Average | Take, device: SquidDevice) -> SimpleAnswer:
        volts = device.volts(max(1, round(request.seconds * RATE_HZ)), self._rng)
        if isinstance(request, Average):
            return Averaged(float(volts.mean()), float(volts.std()), len(volts))
        counts = np.clip(np.round(volts / LSB_V), -32768, 32767).astype(np.int16)
        return Taken(counts, RATE_HZ, LSB_V)
