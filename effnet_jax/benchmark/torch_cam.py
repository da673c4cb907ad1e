"""pytorch-grad-cam on timm's model under the clock."""

import torch

from effnet_jax.benchmark.case import Case
from effnet_jax.benchmark.torch_models import provide_torchvision_operators

CLASSES = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "layer_cam": "LayerCAM",
    "score_cam": "ScoreCAM",
}


class TorchCam:
    """One method at the map after the last activation, or plain inference, on random images."""

    compile_seconds = None

    def __init__(self, what: str, case: Case):
        provide_torchvision_operators()  # both packages import torchvision
        import pytorch_grad_cam
        import timm

        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = timm.create_model(case.model, num_classes=case.num_classes).eval()
        self._model = self._model.to(self._device, memory_format=torch.channels_last)
        shape = (case.batch_size, 3, case.resolution, case.resolution)
        self._images = torch.randn(shape, device=self._device).contiguous(memory_format=torch.channels_last)
        self._explain = None
        if what in CLASSES:
            explainer = getattr(pytorch_grad_cam, CLASSES[what])
            self._explain = explainer(model=self._model, target_layers=[self._model.bn2])
            self._explain.batch_size = 64  # of Score-CAM's masked images, as ours

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if self._explain is not None:
                self._explain(input_tensor=self._images, targets=None)
            else:
                with torch.inference_mode():
                    self._model(self._images).cpu()

    def accelerator_memory(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self._device.type == "cuda" else None
