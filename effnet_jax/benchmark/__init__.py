"""Measuring speed and memory side by side with other implementations; `scripts/benchmark.py` is the way in."""
