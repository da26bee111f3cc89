"""What volts mean: energies from pulse heights."""
