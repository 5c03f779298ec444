"""Pictures to vectors: preprocessing, the encoder, model files."""
