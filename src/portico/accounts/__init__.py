"""Sign in, sign out, API keys, imports, and what they write into the config; the wizard."""
