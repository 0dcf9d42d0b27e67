"""Model references, the catalogue, and the loader that makes a model callable."""
