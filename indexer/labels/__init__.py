"""Vectors to label probabilities: neighbours, heads, calibration, unknown authors."""
