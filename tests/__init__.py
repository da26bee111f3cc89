"""The tests: unit, property, physics, contract and system."""
