"""Folders and manifests into the catalog."""
