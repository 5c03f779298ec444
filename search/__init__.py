"""Answers: the query engine, its rankings and labels, every way of showing them, and the
one command line.

Nothing here imports torch; `tests/test_imports.py` proves it.
"""
