"""Scaling studies: single axes against compound scaling, and the family against its baselines."""
