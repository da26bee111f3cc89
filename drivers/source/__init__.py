"""Sources: generators of pulses and waves."""
