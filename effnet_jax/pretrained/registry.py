"""The sources of weights by name, as `--from` takes them."""

from effnet_jax.pretrained import keras, lukemelas, tensorflow, timm, torchvision

SOURCES = {module.SOURCE.name: module.SOURCE for module in (timm, torchvision, lukemelas, keras, tensorflow)}
