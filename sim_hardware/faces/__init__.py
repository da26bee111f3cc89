"""The wire sides of the simulated instruments: text or bytes in, text or bytes out, no sockets."""
