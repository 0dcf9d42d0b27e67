"""Providers that come with Portico, registered through the same hooks as any plugin."""
