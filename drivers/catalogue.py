"""The catalogue: which driver a model name in the config stands for."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from daq.errors import UsageError
from drivers.digitizer.digitizer import Digitizer
from drivers.instrument import Instrument

GROUP = "scheelite.drivers"  # other packages add their models under this name
OWN = (
    EntryPoint("lakeshore372", "drivers.temperature.lakeshore372:Lakeshore372", GROUP),
    EntryPoint("magnicon-xxf1", "drivers.squid.magnicon:Magnicon", GROUP),
    EntryPoint("starcryo-pfl102", "drivers.squid.starcryo:StarCryo", GROUP),
    EntryPoint("starcryo-pfl102-200ua", "drivers.squid.starcryo:StarCryoWide", GROUP),
    EntryPoint("lakeshore370", "drivers.temperature.lakeshore370:Lakeshore370", GROUP),
    EntryPoint("lakeshore336", "drivers.temperature.lakeshore336:Lakeshore336", GROUP),
    EntryPoint("lakeshore350", "drivers.temperature.lakeshore336:Lakeshore350", GROUP),
    EntryPoint("avs47b", "drivers.temperature.avs47b:Avs47b", GROUP),
    EntryPoint("keysight33500b", "drivers.source.keysight33500b:Keysight33500b", GROUP),
    EntryPoint("triton", "drivers.fridge.triton:Triton", GROUP),
    EntryPoint("bluefors-logs", "drivers.fridge.bluefors_logs:BlueforsLogs", GROUP),
    EntryPoint("bluefors-api", "drivers.fridge.bluefors_api:BlueforsApi", GROUP),
    EntryPoint("bftc", "drivers.fridge.bftc:Bftc", GROUP),
    EntryPoint("leiden-bridge", "drivers.fridge.leiden:LeidenBridge", GROUP),
    EntryPoint("leiden-ghs", "drivers.fridge.leiden:LeidenGhs", GROUP),
    EntryPoint("leiden-avs", "drivers.fridge.composed:LeidenAvs", GROUP),
    EntryPoint("janis", "drivers.fridge.composed:Janis", GROUP),
    EntryPoint("scheelite-stream", "drivers.digitizer.stream:StreamDigitizer", GROUP),
    EntryPoint("file-replay", "drivers.digitizer.file_replay:FileReplay", GROUP),
    EntryPoint("nidaqmx", "drivers.digitizer.nidaqmx:NidaqmxDigitizer", GROUP),
    EntryPoint("spectrum", "drivers.digitizer.spectrum:SpectrumDigitizer", GROUP),
    EntryPoint("redpitaya", "drivers.digitizer.redpitaya:RedpitayaDigitizer", GROUP),
)


def models(found: Iterable[EntryPoint] | None = None) -> dict[str, EntryPoint]:
    """Every known model; a package cannot replace one of ours. `found` stands for the installed."""
    others = entry_points(group=GROUP) if found is None else found
    return {entry.name: entry for entry in (*others, *OWN)}


def instrument(model: str, found: Iterable[EntryPoint] | None = None) -> type[Instrument]:
    """The driver of an instrument model; UsageError where there is none."""
    driver = _load(model, found)
    if not issubclass(driver, Instrument):
        raise UsageError(f"expected the model of an instrument, found {model!r}")
    return driver


def digitizer(model: str, found: Iterable[EntryPoint] | None = None) -> type[Digitizer]:
    """The driver of a digitizer model; UsageError where there is none."""
    driver = _load(model, found)
    if not issubclass(driver, Digitizer):
        raise UsageError(f"expected the model of a digitizer, found {model!r}")
    return driver


def check_model(model: str) -> str:
    """`model`, where it is known; UsageError naming those that are, otherwise."""
    known = models()
    if model not in known:
        raise UsageError(f"expected one of the models {', '.join(sorted(known))}, found {model!r}")
    return model


def _load(model: str, found: Iterable[EntryPoint] | None) -> type[object]:
    entry = models(found).get(model)
    if entry is None:
        known = ", ".join(sorted(models(found)))
        raise UsageError(f"expected one of the models {known}, found {model!r}")
    try:
        driver = entry.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the driver of {model!r} cannot be loaded: {error}") from error
    if not isinstance(driver, type):
        raise UsageError(f"expected a class for {model!r}, found {driver!r}")
    return driver
