"""Benchmarks: `python -m bench` measures every figure of docs/benchmarks.md and writes JSON."""
