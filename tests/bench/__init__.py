"""What is measured: `make bench`; the figures are in docs/benchmarks.md."""
