"""The hard limits that [detectors] puts on currents and on the bath, whoever writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from daq.errors import UsageError
from daq.settings.detectors import Detector
from drivers.instrument import Instrument
from drivers.settings import Limit, Safety
from drivers.squid.squid_channel import SquidChannel, squids_of


def with_detectors(
    safety: Safety, detectors: Mapping[str, Detector], instruments: Mapping[str, Instrument]
) -> Safety:
    """The limits of both: where both limit something, the tighter; UsageError for a bad plug."""
    limits = dict(safety.limits)
    for name, detector in detectors.items():
        for place, limit in _limits(name, detector, instruments):
            limits[place] = _tighter(limits[place], limit) if place in limits else limit
    return safety.model_copy(update={"limits": limits})


def _limits(
    name: str, detector: Detector, instruments: Mapping[str, Instrument]
) -> Iterator[tuple[str, Limit]]:
    """What may be written for one detector, in the units of the parameters."""
    squid, instrument = _squid(name, detector, instruments), detector.squid.instrument
    most_a = {"bias": detector.squid_bias_a[1], "tes_bias": detector.tes_bias_max_a}
    for value, most in most_a.items():
        if value not in squid.capabilities:
            continue
        offer = squid.offers()[value]
        place = f"{instrument}.{offer.parameter}" + (f".{offer.part}" if offer.part else "")
        most /= offer.to_si or 1.0
        yield place, Limit(least=-most, most=most)
    if detector.setpoint is not None:
        yield ".".join(detector.setpoint), Limit(least=0.0, most=detector.bath_max_k)


def _squid(name: str, detector: Detector, instruments: Mapping[str, Instrument]) -> SquidChannel:
    plug = detector.squid
    known = squids_of(instruments[plug.instrument]) if plug.instrument in instruments else {}
    if plug.number not in known:
        found = ", ".join(map(str, known)) or "no SQUID electronics"
        raise UsageError(
            f"detectors.{name}.squid: expected a SQUID {plug.number} of {plug.instrument}, "
            f"found {found}"
        )
    return known[plug.number]


def _tighter(one: Limit, other: Limit) -> Limit:
    least, most = max(one.least, other.least), min(one.most, other.most)
    if least > most:
        raise UsageError(
            f"expected limits of [safety] and [detectors] that overlap, found {one.least:g} to "
            f"{one.most:g} and {other.least:g} to {other.most:g}"
        )
    return Limit(least=least, most=most)
