"""The only rooms where torch lives: networks, training, evaluation and export."""
