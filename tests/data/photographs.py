"""Small folders of photographs that compress well: coloured waves, each another."""

import io
import pathlib

import numpy as np
from PIL import Image


def jpeg(seed: int, height: int = 40, width: int = 48) -> bytes:
    """Returns one as JPEG bytes."""
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    y, x = np.mgrid[:height, :width] / 20
    pixels = np.uint8(127 + 100 * np.stack([np.sin((k + 1) * x + y + phase[k]) for k in range(3)], axis=-1))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_folder(folder: pathlib.Path, counts: dict[str, dict[str, int]]) -> str:
    """Writes counts[split][class] photographs; returns what configs call the folder."""
    seed = 0
    for split, classes in counts.items():
        for name, count in classes.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                (folder / split / name / f"{index:03d}.jpg").write_bytes(jpeg(seed))
                seed += 1
    return f"folder:{folder}"
