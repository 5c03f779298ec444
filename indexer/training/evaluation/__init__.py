"""How good the embeddings and the labels are, by one protocol."""
