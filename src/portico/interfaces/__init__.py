"""What the layers meet through: small types and protocols, by topic.

Nothing here does I/O or imports more than the standard library's cheap parts.
"""
