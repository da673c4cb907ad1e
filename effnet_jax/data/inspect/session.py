"""What `scripts/prepare_data.py` does: a dataset on disk, looked at and shown."""

import pathlib
import re

import numpy as np

from effnet_jax.data.decode import images
from effnet_jax.data.inspect import contact_sheet, entries, verify_report
from effnet_jax.data.inspect.verify import verify
from effnet_jax.process import lock
from effnet_jax.process.atomic import write_json

RECORD, TABLE, SAMPLES, AUGMENTED = "verify.json", "verify.txt", "samples.png", "augmented.png"
NUM_SHOWN, SIDE_SHOWN = 8, 64  # images of the sheet of augmentations, and their size where each has its own


def prepare(name: str, data_dir: str, manual_dir: str) -> entries.Source:
    """Downloads dataset `name`, or takes the user's archive, unless it is there already.

    Raises:
      UserError: It is unknown, or cannot be had or written; nothing half-made is left.
    """
    return entries.find(name, data_dir, manual_dir)


def describe(source: entries.Source) -> str:
    """Returns a line about a dataset, and one about the files of a folder that are not taken."""
    sizes = ", ".join(f"{split} {size:,}" for split, size in source.sizes.items())
    line = f"{source.name}: {len(source.class_names)} classes, {sizes} images"
    return f"{line}\n{source.left_out}" if source.left_out else line


def default_output(source: entries.Source) -> str:
    """Returns the folder for what is written about a dataset."""
    return f"runs/data/{re.sub(r'[^A-Za-z0-9_.-]+', '_', source.name)}"


def look_at(source: entries.Source, output: pathlib.Path) -> tuple[str, bool]:
    """Verifies a dataset and writes verify.json, verify.txt and samples.png into `output`.

    Returns:
      The table, and whether everything is right.

    Raises:
      UserError: Nothing can be written there.
    """
    findings = verify(source, verify_report.samples_per_class(len(source.class_names)))
    table = verify_report.as_table(findings)
    with lock.hold_folder(output, "writing into", "--output", wait=True):
        write_json(output / RECORD, verify_report.as_json(findings))
        (output / TABLE).write_text(table + "\n", encoding="utf-8")
        contact_sheet.save(verify_report.samples(findings), output / SAMPLES)
    return table, not findings.problems()


def show_augmented(source: entries.Source, output: pathlib.Path) -> pathlib.Path:
    """Draws training images of different classes under every augmentation; returns the path of the PNG.

    Raises:
      UserError: It cannot be written.
      UnreadableImageError: One of the images cannot be read.
    """
    from effnet_jax.data.inspect import showcase  # needs JAX, which preparing does not

    has_size = source.facts is not None and source.facts.image_size is not None
    side = source.facts.image_size[0] if has_size else SIDE_SHOWN
    chosen = {}
    for entry in source.entries("train"):
        chosen.setdefault(entry.label, entry)
        if len(chosen) == min(NUM_SHOWN, len(source.class_names)):
            break
    squares = [images.central_square(entry.pixels(), side) for entry in chosen.values()]
    sheet = contact_sheet.draw(showcase.groups(np.rint(squares).astype(np.uint8)), max(32, min(side, SIDE_SHOWN)))
    contact_sheet.save(sheet, output / AUGMENTED)
    return output / AUGMENTED
