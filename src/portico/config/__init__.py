"""The config: JSON5 files that are edited in place, and their effective values."""
