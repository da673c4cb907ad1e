"""What `scripts/cam.py` does: checkpoints and images in; overlays, raw maps, a contact sheet and `cam.json` out."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from effnet_jax.cam import evaluation, pictures, registry
from effnet_jax.cam.album import Album, Finding, Page
from effnet_jax.cam.base import HEAD
from effnet_jax.cam.evaluation import Evaluation, Scores
from effnet_jax.cam.explainer import Explainer
from effnet_jax.cam.pictures import Picture
from effnet_jax.cam.registry import Method
from effnet_jax.cam.wishes import Wish
from effnet_jax.errors import UserError
from effnet_jax.inference import classifier
from effnet_jax.process import lock, memory
from effnet_jax.process.atomic import write_json

RECORD, TABLE = "cam.json", "faithfulness.md"


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
      checkpoints: runs, side by side.
      images: files, folders and patterns; none for a sample of the first checkpoint's split.
      methods: names.
      layer: None for the head map.
      wish: the classes explained.
      output: folder.
      maps_only: leave the images out of the pictures.
      evaluate: measure faithfulness.
      split, num_images, evaluate_images, seed: the sample: so many drawn, so many measured.
      sanity_images: so many of those measured go through the weight randomisation.
      batch_size: images at a time.
      weights: "selected", "raw" or "ema".
      data_dir: where the data lies, if not where the run found it.
    """

    checkpoints: Sequence[str]
    images: Sequence[str]
    methods: Sequence[str]
    layer: str | None
    wish: Wish
    output: pathlib.Path
    maps_only: bool
    evaluate: bool
    split: str
    num_images: int
    evaluate_images: int
    sanity_images: int
    seed: int
    batch_size: int
    weights: str
    data_dir: str | None


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of it: the contact sheet, the table where one was asked for, and a sentence a failed image."""

    sheet: pathlib.Path
    table: str
    failures: list[str]


def run(request: Request) -> Result:
    """Explains images by one or several checkpoints and methods.

    Raises:
      UserError: anything that a user can mend, also that another process draws into the folder; before anything is
        computed where that can be known.
    """
    what = f"a batch of {request.batch_size} images"
    with (
        lock.hold_folder(request.output, "drawing into", "--output"),
        memory.enough_for(what, "lower --batch_size, or take a method without gradients, such as cam or score_cam"),
    ):
        return _run(request)


def _run(request: Request) -> Result:
    album = Album(request.output, folder_each=len(request.checkpoints) > 1, maps_only=request.maps_only)
    methods = list({name: registry.find(name) for name in request.methods}.values())
    explainers = _load(request)
    for explainer in explainers:
        request.wish.check(explainer.net.labels)
        for method in methods:
            explainer.check(method, request.layer)
    shown, failures = _images(request, explainers[0])
    drawn = shown if request.images else shown[: request.num_images]
    scores = [_evaluate(request, explainer, shown, methods) if request.evaluate else {} for explainer in explainers]
    strips: list[list[Page]] = [[] for _ in drawn]
    with tqdm(total=len(explainers) * len(methods) * len(drawn), desc="maps", unit="image", leave=False) as bar:
        for explainer, measured in zip(explainers, scores):
            for method in methods:
                for strip, findings in zip(strips, _explain(request, explainer, method, drawn, measured)):
                    strip += map(album.add, findings)
                    bar.update()
    sheet = album.sheet(_heading(request, explainers, methods), drawn, strips, explainers[0].net.labels)
    faithfulness = {explainer.name: evaluation.summary(found) for explainer, found in zip(explainers, scores) if found}
    _write_record(request, explainers, strips, faithfulness, failures)
    return Result(sheet, _write_table(request, faithfulness), failures)


def _load(request: Request) -> list[Explainer]:
    """Loads the checkpoints, each under the shortest name that tells it from the others."""
    parts = [pathlib.Path(path).expanduser().absolute().parts for path in request.checkpoints]
    if len(set(parts)) < len(parts):
        raise UserError("the same --checkpoint is given twice")
    depth = next(n for n in range(1, max(map(len, parts)) + 1) if len({p[-n:] for p in parts}) == len(parts))
    return [
        Explainer(classifier.load(path, request.weights), "_".join(part[-depth:]), request.batch_size)
        for path, part in zip(request.checkpoints, parts)
    ]


def _images(request: Request, first: Explainer) -> tuple[list[Picture], list[str]]:
    if request.images:
        return pictures.from_files(request.images)
    count = max(request.num_images, request.evaluate_images) if request.evaluate else request.num_images
    return pictures.from_split(first.net, request.split, count, request.seed, request.data_dir), []


def _evaluate(
    request: Request, explainer: Explainer, shown: Sequence[Picture], methods: Sequence[Method]
) -> dict[str, Scores]:
    batches = -(-len(shown) // explainer.batch_size)
    total = batches * (len(methods) + len(evaluation.CONTROLS)) + len(methods)
    with tqdm(total=total, desc=f"faithfulness of {explainer.name}", unit="batch", leave=False) as bar:
        work = Evaluation(explainer, request.wish, request.layer, request.seed, request.sanity_images, bar.update)
        return work.scores(shown, methods)


def _explain(
    request: Request, explainer: Explainer, method: Method, drawn: Sequence[Picture], scores: dict[str, Scores]
) -> Iterator[list[Finding]]:
    """Yields for each picture its maps by one checkpoint and method."""
    labels, wish, position = explainer.net.labels, request.wish, 0
    for chunk, images in explainer.batches(drawn):
        probabilities = explainer.probabilities(images, request.layer)[: len(chunk)]
        classes = wish.classes(probabilities, [picture.label for picture in chunk], labels)
        targets = wish.explained(classes, labels)
        maps = np.asarray(explainer.raw_maps(method, images, targets, request.layer, explainer.variables))
        for row, picture in enumerate(chunk):
            yield [
                Finding(
                    picture=picture,
                    explainer=explainer,
                    method=method,
                    layer="input" if method.at_input else request.layer or HEAD,
                    index=int(index),
                    target=wish.describe(int(index), labels),
                    probabilities=probabilities[row],
                    found=maps[row, rank],
                    suffix=f".{rank + 1}" if wish.top_k > 1 else "",
                    scores=_row(scores, method, position) if rank == 0 else None,
                )
                for rank, index in enumerate(classes[row])
            ]
            position += 1


def _row(scores: dict[str, Scores], method: Method, position: int) -> dict[str, float] | None:
    """Returns the figures of one picture; the weight randomisation covers only the first pictures."""
    if not scores:
        return None
    return {name: float(values[position]) for name, values in scores[method.name].items() if position < len(values)}


def _heading(request: Request, explainers: Sequence[Explainer], methods: Sequence[Method]) -> list[list[str]]:
    """Names the columns of a strip, in the order in which `run` fills it."""
    networks = [[explainer.name] if len(explainers) > 1 else [] for explainer in explainers]
    lines = [[*network, method.name] for network in networks for method in methods]
    return [each for each in lines for _ in range(request.wish.top_k)]


def _write_record(
    request: Request,
    explainers: Sequence[Explainer],
    strips: Sequence[Sequence[Page]],
    faithfulness: dict[str, list[dict]],
    failures: list[str],
) -> None:
    checkpoints = [
        {"name": explainer.name, "path": str(path), "step": explainer.net.step, "ema": explainer.net.ema}
        for explainer, path in zip(explainers, request.checkpoints)
    ]
    record = {
        "checkpoints": checkpoints,
        "maps": [page.entry for strip in strips for page in strip],
        "faithfulness": faithfulness,
        "failed": failures,
    }
    write_json(request.output / RECORD, record)


def _write_table(request: Request, faithfulness: dict[str, list[dict]]) -> str:
    """Writes the faithfulness tables and returns their text; empty where nothing was measured."""
    tables = {name: evaluation.as_markdown(rows) for name, rows in faithfulness.items()}
    text = "\n\n".join(f"{name}\n\n{table}" if len(tables) > 1 else table for name, table in tables.items())
    if text:
        (request.output / TABLE).write_text(text + "\n", encoding="utf-8")
    return text
