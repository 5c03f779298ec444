"""Where the data lies and how it stays whole: Delta tables, commits, snapshots, locks, files."""
