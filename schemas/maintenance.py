"""Keeping the tables tidy: few files, a checkpoint, and nothing left of what was deleted."""

from __future__ import annotations

import shutil

from schemas import commits
from schemas.catalog import Catalog, committing, no_hooks
from schemas.layout import Layout
from schemas.tables import TABLES

KEEP_HOURS = 7 * 24
"""Removed files stay this long for readers that opened an older version."""
MANY_FILES = 16
MANY_ENTRIES = 30


def maintain(layout: Layout, *, keep_history: bool = True) -> list[str]:
    """Compact tables of many small files, remove files that no version needs any more, and
    shorten the log. Without `keep_history` nothing stays but the rows of now: deleted ones
    are neither in data files nor in the log. Needs the data root's lock.

    Returns the tables that were worked on. Errors:  InputError when the disk refuses
    """
    catalog = Catalog(layout)
    done = []
    for name in TABLES:
        if not catalog.exists(name):
            continue
        directory = layout.table(name)
        files = len(catalog.files(name))
        if keep_history and files < MANY_FILES and len(commits.versions(directory)) < MANY_ENTRIES:
            continue
        if files >= MANY_FILES or (not keep_history and files > 1):
            with committing(layout, name):
                catalog.open(name).optimize.compact(post_commithook_properties=no_hooks())
        with committing(layout, name):
            catalog.open(name).vacuum(
                retention_hours=KEEP_HOURS if keep_history else 0,
                enforce_retention_duration=False,
                dry_run=False,
                post_commithook_properties=no_hooks(),
            )
        aside = layout.staging / f"log-{name}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            with committing(layout, name):
                commits.checkpoint(directory, catalog.version(name) or 0, aside)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        done.append(name)
    return done
