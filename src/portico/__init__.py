"""Portico: sign in to a model provider once; every tool on the machine uses the models with a local key."""

__version__ = "0.1.0"
