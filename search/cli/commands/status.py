"""`toonsearch status`: the coverage ledger."""

from __future__ import annotations

import dataclasses

import click

from search.cli.commands import as_json, examples, print_json
from search.cli.context import Session


@click.command(epilog=examples("toonsearch status", "toonsearch status --json"))
@as_json
@click.pass_obj
def command(session: Session, as_json: bool) -> None:
    """Show what the catalog and the index hold."""
    from indexer.monitoring import coverage

    settings = session.settings()
    found = coverage(settings.layout, settings)
    if as_json:
        print_json({**dataclasses.asdict(found), "adds_up": found.adds_up})
        return
    skipped, failed = sum(found.skipped.values()), sum(found.failed.values())
    print(f"{'catalog':<12}{settings.store.root}")
    print(f"{'titles':<12}{found.titles:>9,}   by {found.authors:,} authors")
    print(f"{'pictures':<12}{found.pictures:>9,}   {_listed(found.sources)}")
    print(f"  {'embedded':<10}{found.embedded:>9,}   {found.model_id}")
    print(f"  {'pending':<10}{found.pending:>9,}   {_hint(found.pending, 'toonsearch embed')}")
    print(f"  {'skipped':<10}{skipped:>9,}   {_listed(found.skipped)}")
    print(f"  {'failed':<10}{failed:>9,}   {_listed(found.failed)}")
    if not found.adds_up:
        print("  these do not add up to the pictures: please report it")
    if found.generation_id is None:
        print(f"{'index':<12}{found.generation_state}")
        return
    print(f"{'index':<12}{found.indexed:>9,}   {found.generation_id}")
    if found.stale:
        print(f"{'':<24}the catalog has changed since: `toonsearch index build`")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _hint(count: int, command: str) -> str:
    return f"`{command}`" if count else ""
