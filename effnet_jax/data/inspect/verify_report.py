"""What `verify` found, as a table, as JSON and as a picture."""

from typing import Any

from PIL import Image

from effnet_jax.data.inspect import contact_sheet
from effnet_jax.data.inspect.verify import Findings, SplitFindings

MAX_TILES = 300  # on the picture of samples
TILE = 32
MAX_NAMED = 20  # unreadable images of a split in the table; the JSON names all


def samples_per_class(num_classes: int) -> int:
    """Returns how many samples of a class fit on the picture."""
    return max(1, min(8, MAX_TILES // num_classes))


def as_json(findings: Findings) -> dict[str, Any]:
    """Returns everything that was found, images by name."""
    return {
        "dataset": findings.source.name,
        "num_classes": len(findings.source.class_names),
        "left_out": findings.source.left_out,
        "problems": findings.problems(),
        "splits": {split: _split_as_json(found) for split, found in findings.splits.items()},
        "in_several_splits": [
            {"splits": list(pair), "count": len(both), "images": [_names(findings, pair, digest) for digest in both]}
            for pair, both in findings.shared().items()
        ],
        "different_labels": findings.contradictions(),
    }


def _split_as_json(found: SplitFindings) -> dict[str, Any]:
    return {
        "images": found.images,
        "unreadable": found.unreadable,
        "wrong_size": found.wrong_size,
        "repeats": found.repeats,
        "repeated_images": [names for names in found.names.values() if len(names) > 1],
        "mean": found.mean.tolist(),
        "std": found.std.tolist(),
        "sizes": {f"{height}x{width}": count for (height, width), count in found.sizes.most_common()},
        "images_by_class": found.counts,
    }


def _names(findings: Findings, pair: tuple[str, str], digest: bytes) -> dict[str, list[str]]:
    return {split: findings.splits[split].names[digest] for split in pair}


def as_table(findings: Findings) -> str:
    """Returns a row a split, of what can be read, then what is wrong and the names of what cannot be read."""
    rows = [("split", "images", "a class", "unreadable", "wrong size", "repeats", "sizes", "mean", "std")]
    for split, found in findings.splits.items():
        smallest, largest = min(found.counts.values()), max(found.counts.values())
        rows.append(
            (
                split,
                f"{found.images:,}",
                str(smallest) if smallest == largest else f"{smallest}-{largest}",
                str(len(found.unreadable)),
                str(len(found.wrong_size)),
                str(found.repeats),
                _sizes(found),
                " ".join(f"{value:.4f}" for value in found.mean),
                " ".join(f"{value:.4f}" for value in found.std),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(0, f"{findings.source.name}: {len(findings.source.class_names)} classes")
    problems = findings.problems()
    lines += ["", "wrong:", *(f"- {problem}" for problem in problems)] if problems else ["", "nothing is wrong"]
    for split, found in findings.splits.items():
        if found.unreadable:
            lines += ["", f"unreadable in {split}:", *(f"- {reason}" for reason in found.unreadable[:MAX_NAMED])]
        if len(found.unreadable) > MAX_NAMED:
            lines.append(f"- and {len(found.unreadable) - MAX_NAMED} more, all of them in the JSON file")
    return "\n".join(lines)


def _sizes(found: SplitFindings) -> str:
    if not found.sizes:
        return "none"
    smallest, largest = min(found.sizes), max(found.sizes)
    name = "{}x{}".format
    return name(*smallest) if smallest == largest else f"{name(*smallest)} to {name(*largest)}"


def samples(findings: Findings) -> Image.Image:
    """Draws the first training images of each class."""
    (found, *_) = findings.splits.values()
    groups = [contact_sheet.Group(name, images) for name, images in found.samples.items()]
    return contact_sheet.draw(groups, TILE)
