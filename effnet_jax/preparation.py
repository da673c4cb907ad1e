"""What `scripts/prepare_data.py` does: a dataset on disk, looked at and shown."""

import pathlib
import re

from effnet_jax.data import contact_sheet, entries, verify_report
from effnet_jax.data.verify import verify
from effnet_jax.training.workdir import write_json

RECORD, TABLE, SAMPLES = "verify.json", "verify.txt", "samples.png"


def prepare(name: str, data_dir: str, manual_dir: str) -> entries.Source:
    """Downloads dataset `name`, or takes the user's archive, unless it is there already.

    Raises:
      UserError: It is unknown, or cannot be had or written; nothing half-made is left.
    """
    return entries.find(name, data_dir, manual_dir)


def describe(source: entries.Source) -> str:
    """Returns a line about a dataset."""
    sizes = ", ".join(f"{split} {size:,}" for split, size in source.sizes.items())
    return f"{source.name}: {len(source.class_names)} classes, {sizes} images"


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
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / RECORD, verify_report.as_json(findings))
    (output / TABLE).write_text(table + "\n")
    contact_sheet.save(verify_report.samples(findings), output / SAMPLES)
    return table, not findings.problems()
