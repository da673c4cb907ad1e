"""Data only: one get_config() a file. Every default stands in default.py."""
