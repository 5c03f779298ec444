"""Networks, training, evaluation and export: the only place with torch."""
