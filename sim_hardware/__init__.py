"""The simulated bench: instruments and digitizers that answer on real sockets."""
