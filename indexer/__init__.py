"""Pictures to vectors and labels, and on to a published index generation."""
