"""Dilution refrigerators: one view of them all, and the drivers of their makers."""
