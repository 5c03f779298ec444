"""What the data is, where it lies, and how it stays whole; imports nothing from other folders."""
