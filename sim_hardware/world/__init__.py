"""The physics of the simulated bench: quantities and time, no bytes and no sockets."""
