"""The ground of toonsearch: what the data is and where it lies.

Records, table schemas, the catalog, settings, paths and errors. Imports nothing from
the other folders, and no heavy library at module level, so that every command starts fast.
"""
