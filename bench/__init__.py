"""Benchmarks: `python -m bench` measures every figure in the README, as ratios or medians of
one run, and writes JSON."""
