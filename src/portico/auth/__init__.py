"""Keeping signed-in profiles fresh."""
