"""What the windows show, without Qt and without I/O."""
