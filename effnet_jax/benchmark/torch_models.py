"""timm under the clock: channels_last, float32 or bfloat16 autocast, on request through torch.compile."""

import contextlib
import time

import torch

from effnet_jax.benchmark.case import Case

LEARNING_RATE = 1e-4


def provide_torchvision_operators() -> None:
    """Declares the operators of detection models that torchvision's wheel expects of every torch.

    A CPU build of torch may lack them, and then importing torchvision (as timm does) fails. Without effect
    where they exist.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # it is there already
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)


_kept = []  # an operator lives as long as the library that declared it


class TorchImplementation:
    """A model of timm and the loop body people write around it."""

    def __init__(self, name: str, case: Case):
        provide_torchvision_operators()
        import timm

        self._case = case
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True
        model = timm.create_model(case.model, num_classes=case.num_classes)
        model = model.to(self._device, memory_format=torch.channels_last).train(case.mode == "train")
        shape = (case.batch_size, 3, case.resolution, case.resolution)
        self._images = torch.randn(shape, device=self._device).contiguous(memory_format=torch.channels_last)
        self._labels = torch.randint(case.num_classes, (case.batch_size,), device=self._device)
        self._optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
        self._model = torch.compile(model) if name == "timm-compile" else model
        started = time.perf_counter()
        self.run(1)
        self.compile_seconds = time.perf_counter() - started if name == "timm-compile" else None

    def run(self, steps: int) -> None:
        step = self._train if self._case.mode == "train" else self._infer
        for _ in range(steps):
            step()
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def accelerator_memory(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self._device.type == "cuda" else None

    def _autocast(self):
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._case.dtype == "bfloat16")

    def _train(self) -> None:
        with self._autocast():
            loss = torch.nn.functional.cross_entropy(self._model(self._images), self._labels)
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _infer(self) -> None:
        with torch.inference_mode(), self._autocast():
            self._model(self._images)
