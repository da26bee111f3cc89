"""The live window: a client like any other, whose end does nothing to the run."""
