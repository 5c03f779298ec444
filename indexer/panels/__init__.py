"""Strips and pages into panels: stitch, cut, order, export, evaluate."""
