"""Hostile training runs, and what each rule makes of them: `python -m benchmarks.hostile`."""
