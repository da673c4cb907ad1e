"""How images reach the devices, and what happens to them there: augmentation, resizing, normalisation."""
