"""Pictures to vectors: preprocessing, the encoder and its runtimes, model files."""
