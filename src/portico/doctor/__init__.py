"""Checks of an installation: each checks one part, and reports problems with their reason and a fix."""
