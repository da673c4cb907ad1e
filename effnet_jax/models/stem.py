"""The stem of the baselines: convolution, BatchNorm, ReLU and, as published, max pooling."""

import flax.linen as nn
import jax

from effnet_jax.architecture import baselines
from effnet_jax.models.layers import BatchNorm, Conv, Numerics
from effnet_jax.ops.geometry import explicit_padding

POOL, POOL_STRIDE = 3, 2


class Stem(nn.Module):
    """[N, H, W, channels of an image] -> [N, h, w, C]; see `baselines.baseline` for its two forms."""

    layer: baselines.Layer
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        (conv,) = self.layer.convolutions
        x = Conv(conv.out_filters, conv.kernel_size, conv.stride, self.numerics, name=conv.conv_name)(x)
        x = nn.relu(BatchNorm(self.numerics, name=conv.norm_name)(x, train))
        if not self.layer.pool:
            return x
        padding = explicit_padding(x.shape[1:3], (POOL, POOL), POOL_STRIDE, self.numerics.padding)
        return nn.max_pool(x, (POOL, POOL), (POOL_STRIDE, POOL_STRIDE), padding)
