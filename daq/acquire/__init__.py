"""The triggered core: a deterministic function of the samples, without I/O or clocks."""
