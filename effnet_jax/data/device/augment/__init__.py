"""Augmentation on the device: everything per image, drawn from a key that follows from seed and step."""
