"""Portico: sign in to a model provider once; its tokens stay in the OS keyring and fresh, for the tools on this machine."""

__version__ = "0.1.0"
