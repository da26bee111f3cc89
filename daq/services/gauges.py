"""Every number that run control knows, as Prometheus scrapes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from daq.run.quantities import (
    OF_CHANNEL,
    OF_DIGITIZER,
    OF_DISK,
    OF_GUARD,
    OF_INSTRUMENT,
    OF_RUN,
    OF_SERVICE,
    Quantity,
)

PREFIX = "scheelite"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# group of quantities -> (what a name in it is called as a label, metrics of the group)
GROUPS = {
    "channels": ("channel", OF_CHANNEL | OF_GUARD),
    "digitizers": ("digitizer", OF_DIGITIZER),
    "services": ("service", OF_SERVICE),
    "instruments": ("instrument", OF_INSTRUMENT),
}
ALONE = {"run": OF_RUN, "disk": OF_DISK}
Numbers = Mapping[str, Quantity]
# Rows as run control's body has them; their values are JSON
Alarms = Iterable[Mapping[str, object]]


class Gauges:
    """A collector over what `quantities` and `alarms` give at the moment of a scrape."""

    def __init__(self, quantities: Callable[[], Numbers], alarms: Callable[[], Alarms]) -> None:
        self._quantities, self._alarms = quantities, alarms
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def page(self) -> bytes:
        """The text that is scraped."""
        return bytes(generate_latest(self._registry))

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: what there is depends on the services."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """One family per kind of number; readings that are stale or no numbers are left out."""
        families: dict[str, GaugeMetricFamily] = {}
        for name, quantity in self._quantities().items():
            if quantity.value is not None and not quantity.stale:
                metric, labels = metric_of(name)
                family = families.get(metric)
                if family is None:
                    family = families[metric] = _family(metric, list(labels))
                family.add_metric(list(labels.values()), quantity.value)
        yield from families.values()
        alarms = GaugeMetricFamily(
            f"{PREFIX}_alarm", "1 while it stands.", labels=["alarm", "severity", "state"]
        )
        for row in self._alarms():
            labels_of = [str(row[key]) for key in ("name", "severity", "state")]
            alarms.add_metric(labels_of, float(row["state"] == "standing"))
        yield alarms


def metric_of(name: str) -> tuple[str, dict[str, str]]:
    """The metric and the labels of a quantity; a name that is in no group is a reading."""
    group, _, rest = name.partition(".")
    if group in ALONE and rest in ALONE[group]:
        return f"{PREFIX}_{group}_{rest}", {}
    if group in GROUPS:
        label, metrics = GROUPS[group]
        of, _, what = rest.rpartition(".")
        if what in metrics:
            return f"{PREFIX}_{label}_{what}", {label: of}
        if of.endswith(".dead_s"):
            return f"{PREFIX}_channel_dead_s", {
                "channel": of.removesuffix(".dead_s"),
                "cause": what,
            }
    return f"{PREFIX}_reading", {"instrument": group, "parameter": rest}


def _family(metric: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric, "As docs/howto/night.md names it.", labels=labels)
