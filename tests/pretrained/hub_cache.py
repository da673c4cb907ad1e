"""A cache of huggingface_hub laid out as the hub's client does: blobs, snapshots that link to them, references."""

import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from tests.pretrained.files import write_safetensors
from tests.pretrained.test_importer import tensors_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "timm/tf_efficientnet_b0.ap_in1k"
SEEN = {
    "tag": "ap_in1k",
    "num_classes": 10,
    "input_size": [3, 64, 64],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "crop_pct": 0.9,
    "interpolation": "bilinear",
    "first_conv": "conv_stem",
    "classifier": "classifier",
}


def config(**seen: Any) -> dict[str, Any]:
    """config.json of a model, as timm writes it."""
    return {"architecture": "tf_efficientnet_b0", "num_classes": 10, "pretrained_cfg": SEEN | seen}


def write_files(
    folder: pathlib.Path, tensors: dict[str, np.ndarray] | None = None, about: dict[str, Any] | None = None
) -> None:
    """Writes model.safetensors and config.json."""
    folder.mkdir(parents=True)
    write_safetensors(folder / "model.safetensors", tensors_of("timm") if tensors is None else tensors)
    (folder / "config.json").write_text(json.dumps(config() if about is None else about))


def lay_out(cache: pathlib.Path, name: str = NAME, commit: str = COMMIT, **files: Any) -> None:
    """Puts a model into the cache, as its newest commit."""
    home = cache / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    write_files(snapshot, **files)
    (home / "blobs").mkdir(exist_ok=True)
    for file in snapshot.iterdir():
        blob = home / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blob)
        file.symlink_to(pathlib.Path("../../blobs") / blob.name)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs/main").write_text(commit)
