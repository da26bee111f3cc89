"""Runs: their states and moves, as data."""
