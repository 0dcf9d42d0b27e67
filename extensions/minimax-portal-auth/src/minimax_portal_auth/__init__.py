"""Portico's plugin for signing in to MiniMax's Coding Plan / Token Plan, Global and CN."""
