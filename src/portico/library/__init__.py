"""Portico for Python programs: load a model by name, with its credential (`portico.load_model`)."""
