"""Generated documents are up to date."""

from __future__ import annotations

from pathlib import Path

from daq.wire.describe import document

DOCS = Path(__file__).parents[2] / "docs"


def test_the_messages_are_documented_as_they_are():
    found = (DOCS / "wire" / "messages.md").read_text(encoding="utf-8")
    assert found == document(), "run: python -m daq.wire.describe > docs/wire/messages.md"
