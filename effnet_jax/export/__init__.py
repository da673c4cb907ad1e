"""A checkpoint taken elsewhere: as a StableHLO program, or as a weight file for timm."""
