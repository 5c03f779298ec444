"""`toonsearch models`: models of other makers, beside the style network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from search.cli.context import Session
from search.cli.options import AsJson, examples, need_training, new_app, print_json

app = new_app()
models = new_app(
    "Add models that say what a picture shows.",
    "toonsearch models add open_clip:ViT-B-32 --weights ViT-B-32.safetensors",
    "toonsearch models list",
)
app.add_typer(models, name="models")


@models.command(
    epilog=examples("toonsearch models add open_clip:ViT-B-32 --weights ViT-B-32.safetensors")
)
def add(
    ctx: typer.Context,
    name: Annotated[
        str, Argument(metavar="open_clip:NAME", help="A model of open_clip by its name there.")
    ],
    weights: Annotated[
        Path, Option(metavar="FILE", help="Its weights: safetensors, or a state_dict of torch.")
    ],
    as_json: AsJson = False,
) -> None:
    """Add a CLIP model: pictures are then found by what they show.

    With the setting encoder.subject it makes the subject vectors: `toonsearch embed` and
    `toonsearch index build` afterwards. Then `toonsearch query --text` finds pictures by what they
    show where no name has the words, alone or beside a picture.
    """
    need_training("models add")
    from indexer.training.clip import add_clip

    session: Session = ctx.obj
    settings = session.settings()
    folder = add_clip(name, weights, settings.layout.models)
    if as_json:
        print_json({"model": folder.name})
        return
    print(f"{folder.name} is added")
    session.note(
        f"to use it: encoder.subject = '{folder.name}' in the settings, `toonsearch embed`,"
        " `toonsearch index build`"
    )


@models.command("list", epilog=examples("toonsearch models list"))
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the CLIP models that were added.

    `toonsearch train --list` shows the models of style.
    """
    from indexer.embedding.clip import clip_folders

    session: Session = ctx.obj
    settings = session.settings()
    names = [folder.name for folder in clip_folders(settings.layout)]
    if as_json:
        used = settings.encoder.subject or None
        print_json({"models": names, "used": used})
        return
    for name in names:
        print(name + ("   in use" if name == settings.encoder.subject else ""))
    if not names:
        session.note("none: `toonsearch models add open_clip:NAME --weights FILE` adds one")
