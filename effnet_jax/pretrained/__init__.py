"""Weights from other implementations of EfficientNet, and back: one name map a source, one importer."""
