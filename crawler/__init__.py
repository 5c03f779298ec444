"""Getting titles and pictures in: sites, folders, manifests and the demo's clip art.

This room hands rows and picture files to the catalog in `schemas`; it knows nothing of
vectors, indexes or queries.
"""
