"""Thermometry and temperature control."""
