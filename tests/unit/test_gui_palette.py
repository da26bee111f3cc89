"""Text can be read and traces can be told apart, by day and by night."""

from __future__ import annotations

import pytest

from gui.palette import PALETTES, Palette, stylesheet

THEMES = list(PALETTES.values())


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", THEMES)
@pytest.mark.parametrize("text", ["text", "muted", "attention", "alarm"])
@pytest.mark.parametrize("ground", ["page", "surface"])
def test_text_has_the_contrast_of_wcag_aa(palette: Palette, text: str, ground: str) -> None:
    assert contrast(getattr(palette, text), getattr(palette, ground)) >= 4.5


@pytest.mark.parametrize("palette", THEMES)
def test_a_selection_can_be_read(palette: Palette) -> None:
    assert contrast(palette.on_selection, palette.selection) >= 4.5
    assert contrast(palette.text, palette.chosen) >= 4.5


@pytest.mark.parametrize("palette", THEMES)
def test_traces_stand_out_from_their_ground(palette: Palette) -> None:
    assert min(contrast(color, palette.surface) for color in palette.channels) >= 2.0


@pytest.mark.parametrize("palette", THEMES)
def test_channels_side_by_side_have_other_colors(palette: Palette) -> None:
    assert len(set(palette.channels)) == 7
    assert palette.channel(8) == palette.channel(1)


@pytest.mark.parametrize("palette", THEMES)
def test_every_color_of_the_sheet_is_in_the_table(palette: Palette) -> None:
    sheet = stylesheet(palette)
    assert "$" not in sheet
    assert palette.alarm in sheet
