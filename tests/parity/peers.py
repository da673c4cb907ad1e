"""The other implementations, in float64, behind one face: weights in, a file out, logits and head map."""

import os
import pathlib

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # it computes in float64 without a switch for the whole process

_registered = []


def import_torch():
    """torch, in float64; skips the test where it is not installed."""
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)
    if not _registered:
        # torchvision's wheel declares operators of detection models at import, which a CPU build of torch lacks.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _registered.append(library)
    return torch


class TorchPeer:
    """A torch model; subclasses build it and find its head map."""

    suffix = ".pth"

    def __init__(self, name: str, num_classes: int, size: int):
        self.torch = import_torch()
        self.model = self.build(name, num_classes, size).double().eval()

    def load(self, tensors: dict[str, np.ndarray]) -> None:
        """Sets every weight and statistic, under the peer's own names."""
        state = {name: self.torch.from_numpy(np.array(values, np.float64)) for name, values in tensors.items()}
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)

    def save(self, path: pathlib.Path) -> None:
        state = {
            name: values.float() if values.is_floating_point() else values
            for name, values in self.model.state_dict().items()
        }
        self.torch.save(state, path)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normalised [N, H, W, 3] -> logits [N, classes], head map [N, h, w, C]."""
        with self.torch.no_grad():
            x = self.torch.from_numpy(images.astype(np.float64).transpose(0, 3, 1, 2).copy())
            fmap = self.features(x)
            return self.head(fmap).numpy(), fmap.numpy().transpose(0, 2, 3, 1)


class Timm(TorchPeer):
    suffix = ".safetensors"

    def build(self, name, num_classes, size):
        return pytest.importorskip("timm").create_model(name, num_classes=num_classes)

    def features(self, x):
        return self.model.forward_features(x)

    def head(self, fmap):
        return self.model.forward_head(fmap)

    def save(self, path):
        import safetensors.torch

        state = self.model.state_dict().items()
        tensors = {name: v.float() if v.is_floating_point() else v for name, v in state}
        safetensors.torch.save_file({name: v.contiguous() for name, v in tensors.items()}, path)


class Torchvision(TorchPeer):
    def build(self, name, num_classes, size):
        return getattr(pytest.importorskip("torchvision").models, name)(num_classes=num_classes)

    def features(self, x):
        return self.model.features(x)

    def head(self, fmap):
        return self.model.classifier(self.model.avgpool(fmap).flatten(1))


class TorchvisionResNet(Torchvision):
    def features(self, x):
        model = self.model
        x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        return model.layer4(model.layer3(model.layer2(model.layer1(x))))

    def head(self, fmap):
        return self.model.fc(self.model.avgpool(fmap).flatten(1))


class TorchvisionDenseNet(Torchvision):
    def features(self, x):
        return self.torch.relu(self.model.features(x))

    def head(self, fmap):
        return self.model.classifier(fmap.mean((2, 3)))


class Lukemelas(TorchPeer):
    suffix = ".bin"

    def build(self, name, num_classes, size):
        package = pytest.importorskip("efficientnet_pytorch")
        # Its padding is computed once, for one image size.
        return package.EfficientNet.from_name(name, num_classes=num_classes, image_size=size)

    def features(self, x):
        return self.model.extract_features(x)

    def head(self, fmap):
        return self.model._fc(self.model._avg_pooling(fmap).flatten(1))


class Keras:
    """keras.applications; it normalises inside, so it is given images in 0..255."""

    suffix = ".weights.h5"

    def __init__(self, name: str, num_classes: int, size: int):
        import_torch()
        keras = pytest.importorskip("keras")
        keras.config.set_floatx("float64")
        self.model = getattr(keras.applications, name)(
            weights=None, classes=num_classes, input_shape=(size, size, 3), classifier_activation=None
        )
        outputs = [self.model.output, self.model.get_layer("top_activation").output]
        self.both = keras.Model(self.model.input, outputs)

    def load(self, tensors):
        for layer in self.model.layers:
            names = [f"{layer.name}/{weight.name}" for weight in layer.weights]
            if names and not layer.name.startswith("normalization"):
                layer.set_weights([tensors[name] for name in names])

    def save(self, path):
        self.model.save_weights(path)

    def __call__(self, images):
        return [np.asarray(output.detach().cpu()) for output in self.both(images.astype(np.float64))]
