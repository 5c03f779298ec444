"""The small network that most tests encode with; `make.py` says what it is and makes it."""

from pathlib import Path

ENVIRON = {"TOONSEARCH_ENCODER__MODEL": str(Path(__file__).parent)}
"""What names it to a process; without, a process takes the shipped one."""
