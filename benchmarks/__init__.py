"""StableStep against what everyone would write: `python -m benchmarks`."""
