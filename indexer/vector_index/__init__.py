"""The index: FAISS, generations, validation. FAISS is used here alone."""
