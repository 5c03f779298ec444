"""One module for each site: every fact about a site lives there and nowhere else."""
