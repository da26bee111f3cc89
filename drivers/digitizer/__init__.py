"""Digitizers: streams of samples."""
