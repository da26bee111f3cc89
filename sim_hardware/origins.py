"""From the bench's settings to everything that particles come from."""

from __future__ import annotations

from math import exp, inf

from sim_hardware.settings import Bench, BenchSources
from sim_hardware.world.array import DetectorArray
from sim_hardware.world.beam import BeamNeutrinos
from sim_hardware.world.gate import BeamGate
from sim_hardware.world.lines import line_energy
from sim_hardware.world.materials import MATERIALS
from sim_hardware.world.muons import Muons
from sim_hardware.world.neutrinos import DAY_S, rate, rate_model
from sim_hardware.world.particles import Origin
from sim_hardware.world.radioactivity import Captures, Gammas, Neutrons, Surface
from sim_hardware.world.reactor import Reactor
from sim_hardware.world.recoils import (
    by_mass,
    drawn,
    exponential,
    flat,
    per_channel,
    uranium_and_thorium_betas,
)
from sim_hardware.world.spectra import cevns

MODEL = "best"


def detector_array(bench: Bench) -> DetectorArray:
    """What the bench's channels are, and where."""
    of = {
        kind: tuple(c for c in bench.channels if bench.kind(c) == kind)
        for kind in ("target", "silicon", "cwo")
    }
    masses_g = {channel: bench.mass_g(channel) for channel in of["target"]}
    return DetectorArray(masses_g=masses_g, silicon=of["silicon"], cwo=of["cwo"])


def beam_gate(sources: BenchSources) -> BeamGate:
    """The accelerator's gate."""
    return BeamGate(
        rate_hz=sources.beam_rate_hz, width_s=sources.beam_gate_s, phase_s=sources.beam_phase_s
    )


def origins(sources: BenchSources, array: DetectorArray) -> list[Origin]:
    """Everything that leaves hits, as far as there are channels for it."""
    found: list[Origin] = [
        Muons(array=array, anywhere_hz=sources.muon_rate_hz, aimed_hz=sources.muon_target_rate_hz),
        Gammas(array=array, rate_hz=sources.gamma_rate_hz, target_share=sources.gamma_target_share),
        per_channel("thallium", array.cwo, sources.thallium_rate_hz, line_energy("thallium")),
    ]
    return found + (_in_crystals(sources, array) if array.targets else [])


def _in_crystals(sources: BenchSources, array: DetectorArray) -> list[Origin]:
    surface_hz = sources.surface_per_cm2_d * array.surface_cm2 / DAY_S
    return [
        *_reactor(sources, array),
        *_recoil_like(sources, array),
        *_crystal_lines(sources, array),
        Surface(array=array, rate_hz=surface_hz),
        Neutrons(array=array, rate_hz=sources.neutron_rate_hz),
        Captures(array=array, rate_hz=sources.capture_rate_hz * len(array.targets)),
        BeamNeutrinos(array=array, gate=beam_gate(sources), rate_hz=sources.beam_nu_rate_hz),
    ]


def _reactor(sources: BenchSources, array: DetectorArray) -> list[Origin]:
    if not sources.cevns_multiplier:
        return []
    reactor = Reactor(power_gw=sources.reactor_power_gw, distance_m=sources.reactor_distance_m)
    per_day = rate(
        rate_model(MODEL),
        reactor,
        MATERIALS["CaWO4"],
        mass_g=1000.0,
        threshold_ev=sources.cevns_min_ev,
    ).per_day
    per_kg_hz = sources.cevns_multiplier * per_day / DAY_S
    return [by_mass("cevns", array, per_kg_hz, drawn(cevns(MODEL, sources.cevns_min_ev)))]


def _recoil_like(sources: BenchSources, array: DetectorArray) -> list[Origin]:
    return [
        by_mass(
            "excess",
            array,
            excess_per_kg_hz(sources),
            exponential(sources.excess_min_ev, sources.excess_e0_ev),
            inf if sources.excess_life_d is None else sources.excess_life_d * DAY_S,
        ),
        by_mass(
            "flat",
            array,
            sources.flat_per_kg_kev_d * sources.flat_max_ev * 1e-3 / DAY_S,
            flat(sources.flat_max_ev),
        ),
        by_mass("beta", array, sources.beta_per_kg_d / DAY_S, uranium_and_thorium_betas),
    ]


def excess_per_kg_hz(sources: BenchSources) -> float:
    """The integral of A exp(-E/E0) from the least energy on."""
    above_kev = sources.excess_e0_ev * 1e-3 * exp(-sources.excess_min_ev / sources.excess_e0_ev)
    return sources.excess_per_kg_kev_d * above_kev / DAY_S


def _crystal_lines(sources: BenchSources, array: DetectorArray) -> list[Origin]:
    rates = {
        "iron55": sources.iron55_rate_hz,
        "copper": sources.copper_rate_hz,
        "tungsten": sources.tungsten_rate_hz,
        "xrf": sources.xrf_rate_hz,
    }
    return [
        per_channel(kind, array.targets, rate_hz, line_energy(kind))
        for kind, rate_hz in rates.items()
    ]
