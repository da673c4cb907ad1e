"""What a model is, in plain Python: blocks, compound scaling, exact counts. Nothing here imports JAX."""
