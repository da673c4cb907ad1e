"""The figures of a benchmark as Markdown. Imports no JAX."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from effnet_jax.benchmark.case import FORWARD

METHOD = """\
Every implementation has a process of its own with the same allocator and compiler settings; all are built and warm
first, then they take turns in the order of the command. Images/s: median over the rounds [slowest, fastest round]; the
ratio is the median of the ratios round by round. Training is a step of plain SGD on the cross-entropy, without dropout
and stochastic depth, for everybody; inference is the forward pass. FLOP/s count 2 a MAC forward and twice that again
backward; bytes/s are operands and results of every operation of the compiled step, once each, as if there were no
caches."""


def markdown(data: dict[str, Any]) -> str:
    """Returns the whole report; sections that were not run are left out."""
    writers = {
        "results": _steps,
        "startup": _startup,
        "memory": _memory,
        "footprint": _footprint,
        "loop": _loop,
        "augment": _augment,
        "data": _data,
        "operations": _operations,
        "depthwise": _depthwise,
        "cam": _cam,
    }
    parts = [_machine(data), *(writer(data[key]) for key, writer in writers.items() if data.get(key))]
    return "\n\n".join(parts) + "\n"


def _machine(data: dict[str, Any]) -> str:
    machine = data["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return "\n".join(
        [
            "# Benchmark",
            "",
            f"`{data['command']}`",
            "",
            f"{data['date']}, commit {machine['commit']}, {machine['hardware']}; peaks measured in the same run: "
            f"{machine['flops'] / 1e9:,.0f} GFLOP/s ({data['dtype']} matrix product), "
            f"{machine['bytes'] / 1e9:,.1f} GB/s (sum of two large arrays).",
            "",
            f"Versions: {versions}.",
            "",
            METHOD,
        ]
    )


def _steps(results: Sequence[dict[str, Any]]) -> str:
    header = (
        "case",
        "implementation",
        "images/s",
        "effnet_jax is faster by",
        "compile, s",
        "peak memory, MB",
        "of peak FLOP/s",
        "of peak bytes/s",
    )
    rows = []
    for r in results:
        case = f"{r['mode']} {r['batch_size']} @ {r['resolution']}"
        if "failure" in r:
            rows.append((case, r["implementation"], f"failed: {r['failure']}", *[""] * 5))
            continue
        rows.append(
            (
                case,
                r["implementation"],
                f"{r['images_per_second']:.4g} [{r['min']:.4g}, {r['max']:.4g}]",
                f"{r['ours_is_faster_by']:.2f}x" if r["ours_is_faster_by"] else "",
                f"{r['compile_seconds']:.1f}" if r["compile_seconds"] is not None else "-",
                f"{r['peak_memory_mb']:,.0f}",
                f"{r['share_of_peak_flops']:.1%}",
                f"{r['share_of_peak_bytes']:.0%}" if r["share_of_peak_bytes"] else "",
            )
        )
    return "## Steps\n\n" + table(header, rows)


def _startup(found: dict[str, Any]) -> str:
    return (
        f"## Compiling\n\n{found['case']}: {found['first_start_seconds']:.1f} s on the first start (tracing included), "
        f"{found['second_start_seconds']:.1f} s on the second, with the persistent compilation cache."
    )


def _memory(found: Sequence[dict[str, Any]]) -> str:
    rows = [(f["case"], f"{f['peak_memory_mb']:,.0f}", f"{f['images_per_second']:.4g}") for f in found]
    return "## Memory\n\n" + table(("case", "peak memory, MB", "images/s"), rows)


def _footprint(found: Sequence[dict[str, Any]]) -> str:
    rows = []
    for row in found:
        peaks = row["peak_memory_mb"]
        times = [f"{peak:,.0f} ({peak / peaks[FORWARD]:.2f}x)" for use, peak in peaks.items() if use != FORWARD]
        rows.append((f"{row['model']}, {row['batch_size']} @ {row['resolution']}", f"{peaks[FORWARD]:,.0f}", *times))
    header = ("case", "forward pass and weights, MB", "predict", "evaluate", "maps (Grad-CAM)")
    return "## Memory of a checkpoint in use\n\nBeside Python and the libraries, compiled before:\n\n" + table(
        header, rows
    )


def _loop(found: dict[str, Any]) -> str:
    return (
        f"## The training loop\n\n{found['case']} on {found['data']}, the full recipe (RMSProp, EMA, augmentation, "
        f"metrics), in turns with its bare step: loop {found['loop']:.4g} images/s, step {found['step']:.4g} images/s; "
        f"the loop ran at {statistics.median(found['shares']):.1%} [{min(found['shares']):.1%}, "
        f"{max(found['shares']):.1%}] of the step; "
        f"handing a step to the device takes the host {found['host_share']:.2%} of the step's time."
    )


def _augment(found: dict[str, Any]) -> str:
    rows = [(row["kind"], f"{row['milliseconds']:.2f}", f"{row['share']:.1%}") for row in found["rows"]]
    return (
        f"## Augmentation\n\n{found['case']}, a step of {found['step_milliseconds']:.0f} ms; making its batch, from "
        "reading the stored images to normalised ones:\n\n" + table(("augmentation", "ms a batch", "of the step"), rows)
    )


def _data(found: dict[str, Any]) -> str:
    rows = [
        (
            row["implementation"],
            f"{statistics.median(row['rates']):.4g} [{min(row['rates']):.4g}, {max(row['rates']):.4g}]",
            f"{row['ours_is_faster_by']:.2f}x",
            f"{row['cached_is_faster_by']:.2f}x",
        )
        if row["rates"]
        else (row["implementation"], "not installed", "", "")
        for row in found["rows"]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"## Photographs\n\n{found['images']} files ({found['source']}) of {found['pixels'] / 1e6:.2f} "
        f"megapixels on average, read, decoded and cut to random crops of {found['side']} pixels (area .08 to 1, "
        f"aspect 3/4 to 4/3, bicubic), in batches of uint8; one thread of one and the same core, in turns; "
        f"{versions}:\n\n"
        + table(("loader", "images/s per core", "effnet_jax is faster by", "with its decoded cache by"), rows)
    )


def _operations(profiles: Sequence[dict[str, Any]]) -> str:
    parts = [
        "## Where a step of effnet_jax goes",
        "An expansion that is one operation with its BatchNorm counts as expand_bn.",
    ]
    for found in profiles:
        whole = sum(row["milliseconds"] for row in found["rows"])
        rows = [
            (
                row["layer"],
                row["direction"],
                f"{row['milliseconds']:.1f}",
                f"{row['milliseconds'] / whole:.0%}",
                f"{row['operations']:.0f}",
            )
            for row in found["rows"]
        ]
        header = ("layer", "direction", "ms a step", "share", "operations")
        parts.append(f"{found['case']}, {whole:.0f} ms in all:\n\n" + table(header, rows))
    return "\n\n".join(parts)


def _depthwise(profiles: Sequence[dict[str, Any]]) -> str:
    parts = ["## Depthwise convolution by shape"]
    for found in profiles:
        names = list(found["rows"][0]["milliseconds"])
        rows = [
            (row["shape"], str(row["layers"]), row["direction"], *(f"{row['milliseconds'][n]:.3f}" for n in names))
            for row in found["rows"]
        ]
        totals = [f"{sum(row['layers'] * row['milliseconds'][n] for row in found['rows']):.1f}" for n in names]
        rows.append(("all layers", "", "", *totals))
        header = ("input, kernel, stride", "layers", "direction", *(f"{name}, ms" for name in names))
        parts.append(f"{found['case']}:\n\n" + table(header, rows))
    return "\n\n".join(parts)


def _cam(found: Sequence[dict[str, Any]]) -> str:
    header = (
        "images at a time",
        "what",
        "implementation",
        "images/s",
        "of its own inference",
        "effnet_jax is faster by",
    )
    rows = []
    for f in found:
        name = (str(f["batch_size"]), f["what"], f["implementation"])
        if "failure" in f:
            rows.append((*name, f"failed: {f['failure']}", "", ""))
            continue
        share = f"{f['share_of_own_inference']:.0%}" if f["share_of_own_inference"] else ""
        if "forwards_per_second" in f:
            share = f"{f['forwards_per_second']:.4g} forward passes/s"
        faster = f"{f['ours_is_faster_by']:.2f}x" if f["ours_is_faster_by"] else ""
        rows.append((*name, f"{f['images_per_second']:.4g} [{f['min']:.4g}, {f['max']:.4g}]", share, faster))
    return (
        "## Class activation maps\n\nEfficientNet-B0 at 224 px, float32, 1000 classes: maps of the predicted class "
        "after the last activation, resized to the image and fetched to the host. pytorch-grad-cam explains timm's "
        "model (channels_last).\n\n" + table(header, rows)
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
