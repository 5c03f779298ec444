"""Answers as text, data, HTML and pictures."""
