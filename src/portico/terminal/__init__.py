"""The terminal: output, prompts, and one line of input."""
