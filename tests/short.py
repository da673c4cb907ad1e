"""A network of two blocks, for runs in which compiling would be most of the time."""


def two_blocks(repeats: int, depth_multiplier: float) -> int:
    """In place of `scaling.round_repeats`: a block each of stages 4 (3x3, stride 2) and 5 (5x5).

    The second is residual, and so has stochastic depth, where the width makes all channels 8.
    """
    return int(repeats == 3)
