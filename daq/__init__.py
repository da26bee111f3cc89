"""Scheelite's data acquisition: from blocks of samples to files of pulses."""
