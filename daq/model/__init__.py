"""The nouns of the acquisition; no I/O."""
