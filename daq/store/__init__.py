"""Runs on disk: the write-ahead log, the files it is folded into, reading and verifying them."""
