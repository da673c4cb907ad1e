"""Training: state, step, optimiser, checkpoints, the loop."""
