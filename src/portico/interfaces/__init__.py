"""Interfaces between the layers: small types and protocols, by topic.

No module of this package does I/O or imports more than the cheap parts of the standard library.
"""
