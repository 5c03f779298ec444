"""SQL over the catalog, for the operator, and in a sandbox for anybody."""
