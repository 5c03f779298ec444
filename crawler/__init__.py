"""Brings titles and pictures into the catalog: from sites, folders and manifests."""
