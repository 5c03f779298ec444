"""A CLIP model of open_clip as two graphs, for pictures and for texts, beside the style network."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from torch import Tensor, nn

from indexer.embedding.clip import (
    FORMAT_VERSION,
    MAX_SIDE_PX,
    PICTURES,
    TEXT_INPUT,
    TEXTS,
    TOKENS,
)
from indexer.embedding.encoder import INPUT_NAME
from indexer.embedding.models import CLIP_FILE, new_model_folder
from indexer.training.backbones import OPEN_CLIP, fill, read_weights
from indexer.training.model import to_onnx
from schemas.errors import InputError, nearest

WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
"""Where CLIP's tokenizer parts a text, as open_clip has it."""


class PictureTower(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Pixels to unit vectors."""

    def __init__(self, model: Any, mean: Any, std: Any) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255.0 * torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, side, side, 3) uint8 -> (B, S)"""
        scaled = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        found: Tensor = self.model.encode_image(scaled, normalize=True)
        return found


class TextTower(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Tokens to unit vectors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, context) int64 -> (B, S)"""
        found: Tensor = self.model.encode_text(tokens, normalize=True)
        return found


def add_clip(name: str, weights: Path, out: Path) -> Path:
    """Write a model of open_clip, `open_clip:NAME`, with weights of a file as a folder in `out`.

    Errors:  InputError when there is no such model, its tokenizer is not CLIP's, the weights do not
             fit, or the folder cannot be written
    """
    try:
        import open_clip
    except ImportError as error:
        hint = "Install the extra: pip install 'toonsearch[clip]'."
        raise InputError("open_clip is not installed", hint) from error
    wanted = name.removeprefix(OPEN_CLIP)
    config = open_clip.get_model_config(wanted)
    if config is None or wanted == name:
        known = [f"{OPEN_CLIP}{one}" for one in open_clip.list_models()]
        raise InputError(f"unknown open_clip network {name!r}", nearest(OPEN_CLIP + wanted, known))
    text = config.get("text_cfg", {})
    if text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs") or "multimodal_cfg" in config:
        raise InputError(
            f"{name} has a tokenizer of its own, which is not supported",
            "Choose one with CLIP's, such as open_clip:ViT-B-32.",
        )
    state = read_weights(weights)
    logging.disable(logging.WARNING)  # it would warn that weights are missing, which come next
    try:
        model = open_clip.create_model(wanted, pretrained=None, pretrained_image=False).eval()
    finally:
        logging.disable(logging.NOTSET)
    fill(model, state, name)
    return write_clip(model, wanted, out)


def write_clip(model: Any, name: str, out: Path) -> Path:
    """Export both towers of an open_clip model into a folder of `out`, whole or not at all.

    Errors:  InputError when the model cannot be exported, or the folder cannot be written
    """
    from open_clip.tokenizer import SimpleTokenizer

    side, *other = _sides(model.visual.image_size)
    if any(one != side for one in other) or side > MAX_SIDE_PX:
        raise InputError(
            f"{name} takes pictures of {model.visual.image_size} pixels", "A square fits."
        )
    mean, std = (getattr(model.visual, key, None) or default for key, default in _COLOURS)
    context = int(model.context_length)
    tokenizer = SimpleTokenizer(context_length=context)
    example = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    try:
        files = {
            PICTURES: to_onnx(
                PictureTower(model, mean, std).eval(), example, INPUT_NAME, ["vector"]
            ),
            TEXTS: to_onnx(TextTower(model).eval(), tokenizer(["a"]), TEXT_INPUT, ["vector"]),
            TOKENS: _tokenizer_json(tokenizer),
        }
    except Exception as error:  # the exporter has many
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{name} cannot be exported to ONNX ({why})") from error
    facts = {
        key: {"bytes": len(data), "blake3": blake3(data).hexdigest()} for key, data in files.items()
    }
    identity = blake3(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    kept = "".join(c if c.isalnum() else "-" for c in name.lower())[:32]
    body = {
        "format_version": FORMAT_VERSION,
        "model_id": f"clip-{kept}-{identity}",
        "dimension": int(model.encode_text(tokenizer(["a"])).shape[1]),
        "side_px": side,
        "context": context,
        "start": tokenizer.sot_token_id,
        "end": tokenizer.eot_token_id,
        "files": facts,
    }
    files[CLIP_FILE] = (json.dumps(body, indent=1) + "\n").encode()
    target = out / str(body["model_id"])
    with new_model_folder(target) as aside:
        for name, data in files.items():
            (aside / name).write_bytes(data)
    return target


_COLOURS = (
    ("image_mean", (0.48145466, 0.4578275, 0.40821073)),
    ("image_std", (0.26862954, 0.26130258, 0.27577711)),
)
"""Of open_clip's towers, and CLIP's own where a tower names none."""


def _sides(size: Any) -> tuple[int, ...]:
    return tuple(int(one) for one in size) if isinstance(size, (tuple, list)) else (int(size),)


def _tokenizer_json(tokenizer: Any) -> bytes:
    """CLIP's tokenizer in the format of the package tokenizers."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(
        models.BPE(
            vocab=dict(tokenizer.encoder),
            merges=list(tokenizer.bpe_ranks),
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return str(made.to_str()).encode()
