"""Where the crystals and the vetoes are, and how far a straight line goes through each.

Lengths are in cm. The crystals are cubes in a horizontal grid; around them is a box of silicon
sheets, and around that a cylinder of CaWO4, in which the box is a hole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, hypot, pi, sqrt

import numpy as np
import numpy.typing as npt

from sim_hardware.world.materials import MATERIALS
from sim_hardware.world.particles import Rng

APART_CM = 0.3  # from crystal to crystal
SHEET_CM = 0.02  # of silicon
ROOM_CM = 0.2  # from the crystals to the silicon, and from there to the outer veto
OUTER_CM = 5.0  # radius and half the height of the outer veto
THINNEST_CM = 1.0  # of the outer veto, where the crystals are many
LEAST_COSINE = 0.02  # along a sheet nothing goes further than 50 thicknesses
PLACED = re.compile(r"[A-Za-z]+([1-9])([1-9])")

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A straight line through a point, along a unit vector; a half-line begins there."""

    point: Vector
    along: Vector
    half: bool = False


class DetectorArray:
    """Channels by what they are, and their places; `targets` are in the order of their masses."""

    def __init__(
        self,
        *,
        masses_g: Mapping[str, float],
        silicon: Sequence[str] = (),
        cwo: Sequence[str] = (),
    ) -> None:
        self.targets, self.silicon, self.cwo = tuple(masses_g), tuple(silicon), tuple(cwo)
        self.masses_g = np.array([*masses_g.values()], np.float64)
        self.sides_cm = np.cbrt(self.masses_g / MATERIALS["CaWO4"].density_g_cm3)
        largest_cm = float(self.sides_cm.max(initial=0.0))
        self.centers = (APART_CM + largest_cm) * _grid(self.targets)
        # half the size of the silicon's box
        self.box = np.abs(self.centers).max(axis=0, initial=0.0) + largest_cm / 2 + ROOM_CM
        least_cm = hypot(self.box[0], self.box[1]) + 2 * ROOM_CM + THINNEST_CM
        self.outer_cm = max(OUTER_CM, least_cm)

    @cached_property
    def cumulated_mass(self) -> Vector:
        """The sums of the targets' shares of all mass, up to 1."""
        return np.asarray(np.cumsum(self.masses_g) / self.masses_g.sum())

    @property
    def kg(self) -> float:
        """All crystals together."""
        return float(self.masses_g.sum()) / 1000

    @property
    def surface_cm2(self) -> float:
        """All faces of all crystals."""
        return float(6 * (self.sides_cm**2).sum())

    @property
    def radius_cm(self) -> float:
        """Of a sphere around all crystals."""
        return float(np.linalg.norm(self.box))

    @property
    def outer_radius_cm(self) -> float:
        """Of a sphere around the outer veto."""
        return sqrt(2) * self.outer_cm

    def through_targets(self, line: Line) -> list[tuple[float, int, float]]:
        """(where it enters, which target, how far it goes), in the order it meets them."""
        half = self.sides_cm[:, None] / 2
        enter, leave = _slabs(line, self.centers - half, self.centers + half)
        hit = np.flatnonzero(leave > enter)
        return sorted((float(enter[i]), int(i), float((leave - enter)[i])) for i in hit)

    def through_silicon(self, line: Line) -> list[tuple[int, float]]:
        """(which of the six sheets, how far in it); two at most."""
        found = []
        for axis in range(3):
            for side in (-1, 1):
                along = line.along[axis] or 1e-12
                at = (side * self.box[axis] - line.point[axis]) / along
                inside = np.abs(line.point + at * line.along) <= self.box + 1e-9
                if inside.all() and not (line.half and at < 0):
                    far = SHEET_CM / max(LEAST_COSINE, abs(along))
                    found.append((2 * axis + (side > 0), far))
        return found

    def through_cwo(self, line: Line) -> float:
        """How far a line goes in the outer veto."""
        enter, leave = _cylinder(line, self.outer_cm)
        wall = self.box + ROOM_CM
        hole = _slabs(line, -wall[None, :], wall[None, :])
        inside = max(0.0, min(leave, float(hole[1][0])) - max(enter, float(hole[0][0])))
        return max(0.0, leave - enter - inside)

    def sheet_channel(self, sheet: int) -> str | None:
        """The channel that reads a sheet; all of them the one, where there is one."""
        return self.silicon[sheet % len(self.silicon)] if self.silicon else None


def isotropic(rng: Rng) -> Vector:
    """A direction."""
    return _direction(2 * rng.random() - 1, 2 * pi * rng.random())


def from_above(rng: Rng, radius_cm: float) -> Line:
    """A line that crosses a sphere around the origin, of an intensity as cos² of the zenith."""
    down = rng.random() ** (1 / 3)  # cos² per solid angle, over a disk that faces the line
    along = -_direction(down, 2 * pi * rng.random())
    far, turn = radius_cm * sqrt(rng.random()), 2 * pi * rng.random()
    one = np.cross(along, [1.0, 0.0, 0.0] if abs(along[0]) < 0.9 else [0.0, 1.0, 0.0])
    one /= np.linalg.norm(one)
    other = np.cross(along, one)
    return Line(point=far * (np.cos(turn) * one + np.sin(turn) * other), along=along)


def within(rng: Rng, center: Vector, side_cm: float) -> Vector:
    """A point in a cube."""
    return np.asarray(center + side_cm * (rng.random(3) - 0.5))


def _direction(cosine: float, turn: float) -> Vector:
    sine = sqrt(max(0.0, 1 - cosine**2))
    return np.array([sine * np.cos(turn), sine * np.sin(turn), cosine])


def _grid(names: Sequence[str]) -> Vector:
    """Places in units of the pitch, [target, xyz], around 0: by names like C23, or row by row."""
    placed = [PLACED.fullmatch(name) for name in names]
    found = [(int(m[1]), int(m[2])) for m in placed if m]
    if len(set(found)) < len(names):
        columns = ceil(sqrt(len(names)))
        found = [divmod(number, columns) for number in range(len(names))]
    places = np.array([(column, -row, 0.0) for row, column in found]).reshape(-1, 3)
    middle = (places.max(axis=0) + places.min(axis=0)) / 2 if len(names) else np.zeros(3)
    return np.asarray(places - middle, np.float64)


def _slabs(line: Line, low: Vector, high: Vector) -> tuple[Vector, Vector]:
    """Where a line enters and leaves boxes, [box]; it misses those it leaves before it enters."""
    along = np.where(np.abs(line.along) < 1e-12, 1e-12, line.along)
    one, other = (low - line.point) / along, (high - line.point) / along
    enter, leave = np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
    return (np.maximum(enter, 0.0) if line.half else enter), leave


def _cylinder(line: Line, size_cm: float) -> tuple[float, float]:
    """Where a line enters and leaves an upright cylinder of this radius and half height."""
    (x, y, z), (u, v, w) = line.point.tolist(), line.along.tolist()
    a, b, c = u * u + v * v or 1e-24, x * u + y * v, x * x + y * y - size_cm**2
    if b * b < a * c:
        return 0.0, 0.0
    root, w = sqrt(b * b - a * c), w or 1e-12
    ends = sorted(((-size_cm - z) / w, (size_cm - z) / w))
    enter, leave = max((-b - root) / a, ends[0]), min((-b + root) / a, ends[1])
    enter = max(enter, 0.0) if line.half else enter
    return (enter, leave) if leave > enter else (0.0, 0.0)
