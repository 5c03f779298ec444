"""SQL over the catalog, for the operator and for strangers."""
