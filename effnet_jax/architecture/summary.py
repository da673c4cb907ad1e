"""What a model is made of, as tables: stages, blocks, the family. Pure Python, imports no JAX."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from effnet_jax.architecture import baselines, catalog, scaling
from effnet_jax.architecture.counting import Counts, LayerCount
from effnet_jax.architecture.description import IN_CHANNELS
from effnet_jax.errors import UserError

BYTES_PER_VALUE = 4  # float32
# Tan & Le 2019 (arXiv 1905.11946v5), Table 2, as printed: parameters and "FLOPs", which are MACs.
PAPER_TABLE_2 = {
    "efficientnet_b0": ("5.3M", "0.39B"),
    "efficientnet_b1": ("7.8M", "0.70B"),
    "efficientnet_b2": ("9.2M", "1.0B"),
    "efficientnet_b3": ("12M", "1.8B"),
    "efficientnet_b4": ("19M", "4.2B"),
    "efficientnet_b5": ("30M", "9.9B"),
    "efficientnet_b6": ("43M", "19B"),
    "efficientnet_b7": ("66M", "37B"),
}
NOTES = (
    "MACs are multiply-adds of one image (FLOPs are twice that): convolutions, squeeze-and-excitation and "
    "the classifier.",
    "Receptive field in input pixels, squeeze-and-excitation aside: its pooling sees the whole image.",
)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Counts of one model at one input size.

    Attributes:
      model: its name.
      resolution: input side in pixels.
      num_classes: width of the classifier.
      width_multiplier, depth_multiplier: of B0, the named model's own included, or of the named baseline; None for a
        baseline as published.
      counts: per layer; see `Architecture.count`.
      in_channels: channels of an image.
    """

    model: str
    resolution: int
    num_classes: int
    width_multiplier: float | None
    depth_multiplier: float | None
    counts: Counts
    in_channels: int

    def stages(self) -> list[list[LayerCount]]:
        """Returns the layers grouped by stage: stem, stages of blocks, head, classifier."""
        grouped = itertools.groupby(self.counts.layers, key=lambda layer: layer.stage)
        return [list(layers) for _, layers in grouped]


def summarize(
    model: str,
    resolution: int | None = None,
    num_classes: int = 1000,
    width_multiplier: float = 1.0,
    depth_multiplier: float = 1.0,
    in_channels: int = IN_CHANNELS,
) -> Summary:
    """Counts a model.

    Args:
      model: one of `catalog.MODELS`.
      resolution: input side in pixels; None takes the published one.
      num_classes: width of the classifier.
      width_multiplier, depth_multiplier: further scaling on top of the named model's own.
      in_channels: channels of an image.

    Raises:
      UserError: an unknown model or impossible numbers.
    """
    published = catalog.published(model)
    resolution = published.resolution if resolution is None else resolution
    if resolution < 1 or num_classes < 1:
        raise UserError(f"resolution and num_classes must be positive, got {resolution} and {num_classes}")
    arch = catalog.architecture(model, width_multiplier, depth_multiplier, in_channels=in_channels)
    counts = arch.count(resolution, num_classes)
    width, depth = width_multiplier, depth_multiplier
    if model in baselines.NAMES and width == depth == 1:
        width = depth = None
    if model in scaling.FAMILY:
        width = scaling.FAMILY[model].width_multiplier * width_multiplier
        depth = scaling.FAMILY[model].depth_multiplier * depth_multiplier
    return Summary(model, resolution, num_classes, width, depth, counts, in_channels)


def as_json(summary: Summary) -> dict[str, Any]:
    """Returns the summary as JSON values: totals, and stages with their blocks."""
    return {
        "model": summary.model,
        "resolution": summary.resolution,
        "num_classes": summary.num_classes,
        "width_multiplier": summary.width_multiplier,
        "depth_multiplier": summary.depth_multiplier,
        "trainable_parameters": summary.counts.parameters,
        "batch_stats": summary.counts.batch_stats,
        "macs": summary.counts.macs,
        "activations": summary.counts.activations,
        "stages": [
            {
                **dataclasses.asdict(merge(layers)),
                "repeats": len(layers),
                "blocks": [dataclasses.asdict(layer) for layer in layers] if len(layers) > 1 else [],
            }
            for layers in summary.stages()
        ],
    }


def merge(layers: Sequence[LayerCount]) -> LayerCount:
    """Returns a stage as one layer: the first block's stride, the last one's output, sums of the counts."""
    first, last = layers[0], layers[-1]
    sums = ("parameters", "batch_stats", "macs", "activations")
    return dataclasses.replace(
        last,
        name=first.name.split("_")[0],
        stride=first.stride,
        **{field: sum(getattr(layer, field) for layer in layers) for field in sums},
    )


def as_table(summary: Summary, batch_size: int, blocks: bool = True) -> str:
    """Returns the summary as text.

    Args:
      summary: what to show.
      batch_size: images for the line on activation memory.
      blocks: show every block under its stage.
    """
    header = (
        "layer", "operator", "kernel", "stride", "output (h, w, c)",
        "parameters", "BN stats", "MACs", "receptive field",
    )  # fmt: skip
    rows = []
    for layers in summary.stages():
        if len(layers) == 1:
            rows.append(_cells(dataclasses.replace(layers[0], name=merge(layers).name)))
            continue
        rows.append(_cells(merge(layers), f" x{len(layers)}"))
        if blocks:
            rows += [_cells(dataclasses.replace(layer, name=f"  {layer.name}")) for layer in layers]
    counts = summary.counts
    megabytes = counts.activations * BYTES_PER_VALUE * batch_size / 2**20
    totals = (
        f"trainable parameters  {counts.parameters:,}",
        f"BatchNorm statistics  {counts.batch_stats:,}",
        f"MACs                  {counts.macs:,} ({counts.macs / 1e9:.4g} G)",
        f"activations           {counts.activations:,} values an image; {megabytes:,.0f} MiB in float32 "
        f"at batch size {batch_size} (outputs of convolutions and classifier)",
    )
    title = f"{summary.model}: {summary.resolution} x {summary.resolution} x {summary.in_channels}, "
    title += f"{summary.num_classes} classes"
    if summary.width_multiplier is not None:
        title += f", width x{summary.width_multiplier:g}, depth x{summary.depth_multiplier:g}"
    return "\n".join([title, "", *_aligned(header, rows, left=2), "", *totals, "", *NOTES])


def _cells(layer: LayerCount, suffix: str = "") -> tuple[str, ...]:
    return (
        layer.name,
        layer.operator + suffix,
        f"{layer.kernel_size}x{layer.kernel_size}",
        str(layer.stride),
        f"{layer.output_size}, {layer.output_size}, {layer.output_filters}",
        f"{layer.parameters:,}",
        f"{layer.batch_stats:,}",
        f"{layer.macs:,}",
        str(layer.receptive_field),
    )


def family(
    resolution: int | None = None,
    num_classes: int = 1000,
    width_multiplier: float = 1.0,
    depth_multiplier: float = 1.0,
    in_channels: int = IN_CHANNELS,
) -> list[Summary]:
    """Returns `summarize` of every model of the family; arguments as there."""
    options = (resolution, num_classes, width_multiplier, depth_multiplier, in_channels)
    return [summarize(model, *options) for model in scaling.FAMILY]


def family_json(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Returns the totals of each model beside what the paper printed (null where it did not)."""
    rows = []
    for summary in summaries:
        parameters, flops = PAPER_TABLE_2.get(summary.model, (None, None))
        totals = as_json(summary)
        del totals["stages"]
        rows.append({**totals, "paper_parameters": parameters, "paper_flops": flops})
    return rows


def family_table(summaries: Sequence[Summary]) -> str:
    """Returns `family_json` as text."""
    header = (
        "model", "width", "depth", "resolution", "parameters", "paper", "BN stats", "GMACs", "paper FLOPs",
    )  # fmt: skip
    rows = [
        (
            row["model"],
            f"{row['width_multiplier']:g}",
            f"{row['depth_multiplier']:g}",
            str(row["resolution"]),
            f"{row['trainable_parameters']:,}",
            row["paper_parameters"] or "-",
            f"{row['batch_stats']:,}",
            f"{row['macs'] / 1e9:.4f}",
            row["paper_flops"] or "-",
        )
        for row in family_json(summaries)
    ]
    note = (
        f'{summaries[0].num_classes} classes. "paper" is Table 2 of arXiv 1905.11946v5 as printed; what it '
        "calls FLOPs are multiply-adds, like our MACs."
    )
    return "\n".join([*_aligned(header, rows, left=1), "", note])


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of a table whose first `left` columns are aligned to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        ]
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [line(header), rule, *(line(row) for row in rows), rule]
