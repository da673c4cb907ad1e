"""Array operations with their own formulations and gradients: depthwise and 1x1 convolution, BatchNorm."""
