"""The evaluation protocol: retrieval, labels, report."""
