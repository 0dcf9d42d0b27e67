"""Where tokens and profiles are kept."""
