"""Messages between services: schemas, codec and sockets."""
