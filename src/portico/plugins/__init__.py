"""The plugin host: discovery, loading and hooks."""
