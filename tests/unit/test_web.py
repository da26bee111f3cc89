"""The telephone's page, its events and /metrics: by HTTP always, in Chromium where it is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from daq.errors import UsageError
from daq.run.quantities import Quantity
from daq.services.gauges import metric_of
from daq.services.pulsewatch import drawing
from daq.services.web import WebPage
from daq.settings.loader import parse
from daq.settings.watch import quantities_of
from daq.wire.schemas import Pulses

BENCH = Path("config/bench.toml").read_text(encoding="utf-8")
MXC = "fridge.input 6.temperature"
BODY = {
    "state": "running", "run": 42, "problem": "", "night": None,
    "alarms": [{"name": "warm", "severity": "critical", "state": "standing", "since_ns": 1,
                "acknowledged_by": "", "silent_until_ns": 0,
                "sentence": "alarm warm (critical): <b>17 mK</b>"}],
    "services": {"core": {"state": "running"}},
}  # fmt: skip
CHANNEL = {"rate_hz": 2.5, "records": 99, "livetime_s": 123.0, "exposure_g_d": 0.01, "x": 1}
CORE = {"channels": {"C11": CHANNEL}, "elapsed_s": 4000.0, "disk_hours_left": 300.0, "label": "A"}
QUANTITIES = {
    MXC: Quantity(0.0112, "K"),
    "fridge.input 5.temperature": Quantity(0.8, "K", stale=True),
    "channels.C11.rate_hz": Quantity(2.5, "Hz"),
    "channels.C11.dead_s.unlocked": Quantity(0.5, "s"),
    "run.exposure_g_d": Quantity(0.01, "g d"),
    "services.core.lost": Quantity(0.0),
}
PULSE = {"low": [0.0, -0.1, 0.2, 0.1], "high": [0.1, 0.0, 0.9, 0.5], "seconds": 0.16}


@contextmanager
def page(tmp_path, extra: str = "port = 0"):
    settings = parse(BENCH + f"\n[web]\n{extra}\n", tmp_path / "x.toml")
    web = WebPage(settings)
    web._pulses.latest = {"C11": PULSE}
    try:
        web.put(BODY, CORE, QUANTITIES)
        yield web
    finally:
        web.close()


def test_the_page_needs_nothing_else_and_writes_nothing(runtime, tmp_path):
    with page(tmp_path) as web:
        got = httpx.get(web.url)
        assert got.status_code == 200
        assert "http" not in got.text.replace("http://www.w3.org/2000/svg", "")
        assert "default-src 'none'" in got.headers["Content-Security-Policy"]
        assert httpx.get(f"{web.url}nothing").status_code == 404
        for method in ("POST", "PUT", "DELETE"):
            assert httpx.request(method, web.url).status_code == 501


def test_events_bring_each_news_at_once(runtime, tmp_path):
    with page(tmp_path) as web, httpx.stream("GET", f"{web.url}events", timeout=10) as events:
        lines = (line for line in events.iter_lines() if line.startswith("data: "))
        first = json.loads(next(lines).removeprefix("data: "))
        assert (first["state"], first["run"]) == ("running", 42)
        assert first["temperatures"][MXC] == {"value": 0.0112, "stale": False}
        assert first["channels"]["C11"]["records"] == 99
        web.put(BODY | {"state": "paused"}, None, {})
        assert json.loads(next(lines).removeprefix("data: "))["state"] == "paused"


def test_beyond_loopback_a_token_is_asked_for(runtime, tmp_path):
    (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
    with page(tmp_path, 'port = 0\nhost = "0.0.0.0"\ntoken_file = "token"') as web:
        url = web.url.replace("0.0.0.0", "127.0.0.1")
        for path in ("", "events", "state", "metrics"):
            assert httpx.get(url + path).status_code == 401
            assert httpx.get(f"{url}{path}?token=wrong").status_code == 401
        assert httpx.get(f"{url}metrics", headers={"Authorization": "Bearer s3cret"}).is_success
        with httpx.Client() as phone:
            assert phone.get(f"{url}?token=s3cret").is_success
            assert phone.get(f"{url}state").json()["run"] == 42  # by the cookie


def test_an_empty_token_is_refused(runtime, tmp_path):
    (tmp_path / "token").write_text("\n", encoding="utf-8")
    text = BENCH + '\n[web]\nport = 0\nhost = "0.0.0.0"\ntoken_file = "token"\n'
    with pytest.raises(UsageError, match="expected a token, found an empty file"):
        WebPage(parse(text, tmp_path / "x.toml"))


def test_prometheus_scrapes_what_is_known_and_fresh(runtime, tmp_path):
    with page(tmp_path) as web:
        told = httpx.get(f"{web.url}metrics").text
    assert 'scheelite_reading{instrument="fridge",parameter="input 6.temperature"} 0.0112' in told
    assert "input 5.temperature" not in told  # stale
    assert 'scheelite_channel_dead_s{cause="unlocked",channel="C11"} 0.5' in told
    assert "scheelite_run_exposure_g_d 0.01" in told
    assert 'scheelite_alarm{alarm="warm",severity="critical",state="standing"} 1.0' in told


def test_every_quantity_has_a_metric_and_labels_tell_them_apart():
    names = quantities_of(parse(BENCH, Path("x.toml")).sections)
    made = {(metric, tuple(labels.items())) for metric, labels in map(metric_of, names)}
    assert len(made) == len(names)


def test_the_dashboard_asks_for_metrics_that_there_are():
    names = quantities_of(parse(BENCH, Path("x.toml")).sections)
    known = {metric_of(name)[0] for name in names} | {"scheelite_alarm"}
    board = json.loads(Path("config/grafana.json").read_text(encoding="utf-8"))
    asked = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    found = {metric for expr in asked for metric in re.findall(r"scheelite_\w+", expr)}
    assert found
    assert found <= known
    labels = {label for metric, of in map(metric_of, names) for label in of}
    legends = [t["legendFormat"] for panel in board["panels"] for t in panel["targets"]]
    shown = {label for legend in legends for label in re.findall(r"\{\{(\w+)\}\}", legend)}
    assert shown <= labels


def test_a_record_is_drawn_from_its_lowest_and_highest():
    told = Pulses(channel="C11", n_records=2, record_length=240, pretrigger=60, rate_hz=1000.0,
                  volts_per_count=0.5)  # fmt: skip
    samples = [0] * 240 + [10] * 60 + [10, 30] * 90
    drawn = drawing(told, np.array(samples, "<i2").tobytes())
    assert len(drawn["low"]) == 120
    assert (drawn["low"][0], drawn["high"][0]) == (0.0, 0.0)
    assert (drawn["low"][-1], drawn["high"][-1]) == (0.0, 10.0)
    assert drawing(told, b"\0" * 7 * 2) is None


BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed: apt-get install chromium")
def test_a_browser_shows_it(runtime, tmp_path):
    with page(tmp_path) as web:
        command = [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'browser'}",
            "--timeout=4000", "--dump-dom", web.url,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = done.stdout
    assert "running 42" in seen
    assert "&lt;b&gt;17 mK&lt;/b&gt;" in seen  # shown, not obeyed
    assert "11.20" in seen
    assert "<path d=" in seen
    assert re.search(r"<td>99</td>", seen)
