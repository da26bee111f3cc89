"""The driver services: one process per digitizer, one for all other instruments."""
