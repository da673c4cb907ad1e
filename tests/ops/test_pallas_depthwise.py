"""The Pallas kernels in interpret mode against XLA's convolution; and that they lower for CUDA."""

import jax
import numpy as np
import pytest

from effnet_jax.ops import depthwise
from effnet_jax.ops.geometry import geometry_of
from effnet_jax.ops.pallas_depthwise import KERNELS


def arguments(height, width, channels, k, stride, padding, dtype="float32"):
    rng = np.random.default_rng(0)
    shape, kernel_shape = (2, height, width, channels), (k, k, 1, channels)
    geometry = geometry_of(shape, kernel_shape, stride, padding)
    shapes = {"x": shape, "w": kernel_shape, "g": (2, geometry.rows.output, geometry.cols.output, channels)}
    a = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    pairs = {"forward": "xw", "input gradient": "gw", "filter gradient": "xg"}
    return geometry, {direction: [a[name] for name in names] for direction, names in pairs.items()}


@pytest.mark.parametrize("direction", KERNELS)
@pytest.mark.parametrize(
    "geometry",
    [(5, 4, 3, 3, 1, "SAME"), (7, 20, 5, 5, 2, "SAME"), (6, 6, 70, 3, 2, "SYMMETRIC"), (2, 1, 4, 5, 1, "SAME")],
    ids=str,
)
def test_equals_xla(direction, geometry):
    geometry, pairs = arguments(*geometry)
    ours = KERNELS[direction](geometry, *pairs[direction], interpret=True)
    reference = depthwise.FORMULATIONS[direction]["lax.conv"](geometry, *pairs[direction])
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("direction", KERNELS)
def test_lowers_for_cuda(direction):
    """Triton's own compiler only runs on a machine with a GPU, but everything before it runs here."""
    geometry, pairs = arguments(7, 7, 24, 5, 2, "SAME", "bfloat16")
    function = jax.jit(lambda a, b: KERNELS[direction](geometry, a, b))
    unstable = jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")
    # From JAX 0.11 on, Pallas wants to know which GPU it is.
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", None, "gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        exported = jax.export.export(function, platforms=["cuda"], disabled_checks=[unstable])(*pairs[direction])
    assert "triton" in exported.mlir_module()
