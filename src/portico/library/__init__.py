"""Portico for Python programs: a model by its name, with whatever signs in to it (`portico.load_model`)."""
