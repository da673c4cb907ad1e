"""Weights from other implementations of these models, and back: one name map a source, one importer."""
