"""Imported ImageNet features on photographs, where a person has both.

EFFNET_JAX_B4_WEIGHTS=tf_efficientnet_b4.safetensors EFFNET_JAX_IMAGE_FOLDER=folder pytest -m slow \
    tests/pretrained/test_real_features.py
The folder holds train/<class>/* and val/<class>/*. Tensors of the last block and the classifier may be missing.
"""

import os
import pathlib

import numpy as np
import pytest

pytestmark = pytest.mark.slow

TRAIN_IMAGES_PER_CLASS = 10


def embed_split(net, folder: pathlib.Path, per_class: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of unit length [N, C] and class indices [N]."""
    paths, labels = [], []
    for index, directory in enumerate(sorted(folder.iterdir())):
        chosen = sorted(directory.iterdir())[:per_class]
        paths += chosen
        labels += [index] * len(chosen)
    embedded = net.embed(paths)
    return embedded / np.linalg.norm(embedded, axis=1, keepdims=True), np.array(labels)


def test_nearest_centroids_of_a_few_images_classify_the_rest(tmp_path):
    weights, folder = (os.environ.get(f"EFFNET_JAX_{name}") for name in ("B4_WEIGHTS", "IMAGE_FOLDER"))
    if not weights or not folder:
        pytest.skip("EFFNET_JAX_B4_WEIGHTS and EFFNET_JAX_IMAGE_FOLDER are not set")
    import effnet_jax
    from effnet_jax.inference import writing
    from effnet_jax.pretrained import importer

    missing = r"^blocks\.6\.1\.conv_pwl?\.weight$|^classifier\."
    options = {"allow_missing": missing, "resolution": 160, "crop_fraction": 1.0}
    imported = importer.import_weights("timm", pathlib.Path(weights), "tf_efficientnet_b4", **options)
    writing.write(imported, tmp_path / "b4")
    net = effnet_jax.load(tmp_path / "b4")

    train, train_labels = embed_split(net, pathlib.Path(folder) / "train", TRAIN_IMAGES_PER_CLASS)
    val, val_labels = embed_split(net, pathlib.Path(folder) / "val", None)
    centroids = np.stack([train[train_labels == label].mean(0) for label in np.unique(train_labels)])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    accuracy = np.mean(np.argmax(val @ centroids.T, axis=1) == val_labels)

    print(f"nearest centroid: {accuracy:.3f} of {len(val)} images")
    assert accuracy >= 0.8
