"""Memory of prediction, evaluation and maps beside that of the forward pass with one copy of the weights.

Each use has a process of its own, and two of them: the first compiles, into a cache, and the memory of the second
counts. What Python and the libraries take before anything is loaded is left out.
"""

import functools
import pathlib
import resource
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from effnet_jax.benchmark.case import FORWARD, Case
from effnet_jax.cam import pictures
from effnet_jax.cam.explainer import Explainer
from effnet_jax.cam.registry import METHODS
from effnet_jax.data.decode.image_files import find_images
from effnet_jax.evaluation.checkpoint import evaluate_checkpoint
from effnet_jax.inference import classifier
from effnet_jax.models.registry import create_model
from effnet_jax.process import environment
from effnet_jax.training import checkpoint

_PASSES = 3
_RUN, _IMAGES, _CLASSES = "run", "images", ("a", "b")


def prepare(folder: str, case: Case) -> None:
    """Writes a checkpoint, and images: two batches of them are the test split of a data set."""
    root = pathlib.Path(folder)
    metadata = {
        "model": _model(case),
        "preprocess": {"resolution": case.resolution, "mean": (0.5,) * 3, "std": (0.25,) * 3},
        "class_names": _CLASSES,
        "selected_weights": "raw",
        "versions": environment.versions(),
    }
    checkpoint.write(root / _RUN, _variables(case, lambda values: values), metadata)
    pixels = np.random.default_rng(0).integers(0, 256, (case.resolution, case.resolution, 3)).astype(np.uint8)
    for split, count in (("train", 4), ("val", 2 * case.batch_size)):
        for index in range(count):
            path = root / _IMAGES / split / _CLASSES[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def measure(use: str, folder: str, case: Case) -> int:
    """Returns the bytes that `FORWARD`, or a use of a checkpoint, takes at its peak beside Python and the libraries."""
    jax.block_until_ready(jnp.zeros(1) + 1)
    before = _peak()
    {FORWARD: _forward, "predict": _predict, "evaluate": _evaluate, "cam": _cam}[use](pathlib.Path(folder), case)
    return _peak() - before


def _forward(root: pathlib.Path, case: Case) -> None:
    model, variables = create_model(**_model(case)), _variables(case, jax.device_put)
    apply = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    images = jax.device_put(np.zeros((case.batch_size, case.resolution, case.resolution, 3), np.float32))
    for _ in range(_PASSES):
        jax.block_until_ready(apply(variables, images))


def _predict(root: pathlib.Path, case: Case) -> None:
    net, paths = classifier.load(root / _RUN), find_images([root / _IMAGES / "val"])
    for _ in range(_PASSES):
        net.predict(paths, case.batch_size)


def _evaluate(root: pathlib.Path, case: Case) -> None:
    evaluate_checkpoint(root / _RUN, batch_size=case.batch_size, dataset=f"folder:{root / _IMAGES}")


def _cam(root: pathlib.Path, case: Case) -> None:
    explainer = Explainer(classifier.load(root / _RUN), _RUN, case.batch_size)
    shown, _ = pictures.from_files([str(root / _IMAGES / "val")])
    for _, images in explainer.batches(shown):
        classes = explainer.probabilities(images).argmax(-1)[:, None]
        np.asarray(explainer.raw_maps(METHODS["grad_cam"], images, classes, None, explainer.variables))


def _model(case: Case) -> dict[str, Any]:
    return {"name": case.model, "num_classes": len(_CLASSES), "dtype": case.dtype, "allow_1x1_map": True}


def _variables(case: Case, put: Callable[[np.ndarray], Any]) -> Any:
    """Arrays that are written to: zeros would take no memory. Put one by one, without compiling anything."""
    images = jax.ShapeDtypeStruct((1, case.resolution, case.resolution, 3), jnp.float32)
    init = functools.partial(create_model(**_model(case)).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), images)
    return jax.tree.map(lambda leaf: put(np.full(leaf.shape, 0.01, leaf.dtype)), shapes)


def _peak() -> int:
    """Bytes of the device, or of this process where that is the host; of the process since its program began."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
