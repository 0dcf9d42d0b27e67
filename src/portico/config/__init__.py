"""The configuration: JSON5 text that is edited in place, and what it means."""
