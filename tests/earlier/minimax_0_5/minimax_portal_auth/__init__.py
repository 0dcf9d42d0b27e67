"""Portico's plugin for signing in to MiniMax's M Plan (earlier: Coding Plan, Token Plan), Global and CN."""
