"""The services of the acquisition: sockets and a clock around the packages below."""
