"""The report: the catalog's style, colour and genre over time on one self-contained page."""
