"""A channel is tuned from the console: asked for, started, and seen curve by curve."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.services import tunefile
from tests.qt import qt_missing, wait_until
from tests.tuning_bench import tuning_bench

pytestmark = [
    pytest.mark.soak,  # as long as a tuning
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(qt_missing()), reason=qt_missing()),
]
TUNE_S = 900.0


def test_a_tuning_is_started_and_seen_in_the_console(runtime: Path, tmp_path: Path) -> None:
    from PySide6.QtCore import QSettings
    from PySide6.QtWidgets import QApplication, QMessageBox

    from gui.setup import endpoints_of, setup_of
    from gui.windows.application import opened, take

    del runtime
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    kept = QSettings(str(tmp_path / "gui.ini"), QSettings.Format.IniFormat)
    with tuning_bench(tmp_path, ("C11",), rate_hz=10e3) as settings:
        window = opened(app, endpoints_of(settings), setup_of(settings), "dark", kept)
        window.docks.show("SQUID/TES")
        wait_until(lambda: window.console.forms.instruments, 60)
        window.forms.tune_button.click()
        question = window.forms.question
        assert question is not None
        yes = [
            button
            for button in question.buttons()
            if question.buttonRole(button) == QMessageBox.ButtonRole.AcceptRole
        ]
        yes[0].click()
        seen: dict[str, int] = {}  # step -> most points while it ran

        def over() -> bool:
            for step in ("v-phi", "iv"):
                row = window.console.tunings.drawn("C11", [step])
                if row is not None and row.state == "runs":
                    seen[step] = max(seen.get(step, 0), len(row.curves[0].x))
            return bool(seen) and not window.console.tuning

        wait_until(over, TUNE_S)
        window.show_panels()
        assert window.console.tune_said == "✓ C11 done"
        assert seen["v-phi"] > 10
        assert seen["iv"] > 10
        assert {"measured", "fit"} <= set(window.curves.squid._data)
        assert "✓" in window.curves.sensor.title.text()
        take(window, tmp_path / "tuned.png")
        window.close()
        (folder,) = tunefile.folders(settings.data_dir)
        assert tunefile.read(folder / tunefile.TUNE).channels["C11"].passed
