"""ONNX Runtime and OpenVINO under the clock: the engines that people serve with, on our model's ONNX file."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from effnet_jax.benchmark.case import Case


class OnnxImplementation:
    """A session of one engine on our model, of fixed batch size, in float32.

    Attributes:
      compile_seconds: what the engine takes to read the file and make its program.
    """

    def __init__(self, name: str, case: Case):
        # In a process of its own: this one is to hold nothing but the engine.
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            arguments = (case.model, str(case.num_classes), str(case.resolution), file.name)
            subprocess.run([sys.executable, "-m", "effnet_jax.benchmark.onnx_models", *arguments], check=True)
            content = file.read()
        shape = (case.batch_size, 3, case.resolution, case.resolution)
        self._images = np.random.default_rng(0).standard_normal(shape, np.float32)
        started = time.perf_counter()
        self._infer = {"onnxruntime": _onnxruntime, "openvino": _openvino}[name](content, shape)
        self.compile_seconds = time.perf_counter() - started

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._infer(self._images)

    def accelerator_memory(self) -> None:
        """Both compute on the CPU here."""
        return None


def _onnxruntime(content: bytes, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def _openvino(content: bytes, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    core = openvino.Core()
    model = core.read_model(content)
    model.reshape(list(shape))
    # One batch at a time, as fast as it goes; float32 where the processor would also do bfloat16.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda images: request.infer({0: images})[0]


def _write(model: str, num_classes: int, resolution: int, path: str) -> None:
    """Writes the ONNX file of a model with random weights, as `export.py --to onnx --output logits` would."""
    from effnet_jax.benchmark.jax_models import initialised
    from effnet_jax.export import onnx_file
    from effnet_jax.inference.classifier import Classifier
    from effnet_jax.models.registry import create_model
    from effnet_jax.training.checkpoint import Loaded

    options = {"name": model, "num_classes": num_classes, "allow_1x1_map": True}
    metadata = {
        "model": options,
        "preprocess": {"resolution": resolution, "mean": (0.0,) * 3, "std": (1.0,) * 3},
        "class_names": [str(number) for number in range(num_classes)],
    }
    net = Classifier(Loaded(initialised(create_model(**options), resolution), metadata, step=0, ema=False))
    with open(path, "wb") as file:
        file.write(onnx_file.serialize(net, output="logits"))


if __name__ == "__main__":
    _write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
