"""From a drawing on axes to a small inline SVG whose colors and fonts are the page's."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 3.5
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN = 0.54, 0.14, 0.06, 0.42
FONT_PX = 8
# The names of the page's CSS colors; a drawing uses `ink(name)`.
SERIES = tuple(f"s{i}" for i in range(12))  # as many as a ledger has shares
INKS = ("ink", "muted", "grid", *SERIES)
_FIRST = 0x10
_INK = re.compile("(?<=: )#0000([1-9][0-9a-f])")
_PATH = re.compile(r' d="([^"]*)"')
_DROPPED = re.compile(
    r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>|(?<=<g) id=\"[^\"]*\""
    r"|font-family: [^;\"]*;? ?| transform=\"rotate\(-0 [^\"]*\"",
    re.DOTALL,
)
_SPACE = re.compile(r">\s+<")
_TENTHS = re.compile(r"(\.\d)\d+")


def ink(name: str) -> str:
    """A color to draw with that stands for one of the page's."""
    return f"#0000{_FIRST + INKS.index(name):02x}"


def series_ink(index: int) -> str:
    """The color of the index-th thing of several; they repeat after seven."""
    return ink(SERIES[index % len(SERIES)])


# Any: matplotlib's own type of a key lists all of them
STYLE: dict[Any, object] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a "$" in a name is a dollar sign
    "font.size": FONT_PX,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": ink("muted"),
    "axes.linewidth": 0.6,
    "axes.labelcolor": ink("muted"),
    "axes.labelsize": FONT_PX,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": ink("grid"),
    "grid.linewidth": 0.5,
    "lines.linewidth": 0.8,
    "lines.solid_joinstyle": "round",
    "xtick.color": ink("muted"),
    "ytick.color": ink("muted"),
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.2,
    "ytick.minor.size": 1.2,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "text.color": ink("ink"),
}


def svg(draw: Callable[[Axes], None], label: str, height_in: float = 2.1) -> str:
    """What `draw` draws on empty axes, as an SVG element; `label` says it in words."""
    # here and not at the top: it takes 0.5 s, which whoever imports us may not need
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user's is none of ours
        # the salt makes the names of this picture's parts differ from those of all others
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": label})
        figure = Figure(figsize=(WIDTH_IN, height_in))
        axes = figure.add_axes(_frame(height_in))
        draw(axes)
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return _slim(drawn.getvalue(), label)


def _frame(height_in: float) -> tuple[float, float, float, float]:
    """All axes of one height lie alike, so that pictures beside each other align."""
    return (
        LEFT_IN / WIDTH_IN,
        BOTTOM_IN / height_in,
        1 - (LEFT_IN + RIGHT_IN) / WIDTH_IN,
        1 - (BOTTOM_IN + TOP_IN) / height_in,
    )


def _slim(drawn: str, label: str) -> str:
    """The same picture without what a page has already, in tenths of a point."""
    body = _SPACE.sub("><", _DROPPED.sub("", drawn[drawn.index("<svg") :]))
    body = _INK.sub(lambda found: f"var(--{INKS[int(found[1], 16) - _FIRST]})", body)
    body = _PATH.sub(lambda found: f' d="{_path(found[1])}"', body)
    size = re.search(r'viewBox="[^"]*"', body)
    assert size is not None  # matplotlib always writes it
    head = f'<svg role="img" aria-label="{html.escape(label)}" {size[0]}'
    return head + ' xmlns:xlink="http://www.w3.org/1999/xlink"' + body[body.index(">") :].rstrip()


def _path(points: str) -> str:
    """Tenths of a point; in a path of straight lines what follows a point is a line anyway."""
    short = _TENTHS.sub(r"\1", points).replace("\n", "")
    return short if "C" in short or "Q" in short else short.replace("L ", "")
