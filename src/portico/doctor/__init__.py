"""What can be wrong with an installation: each check looks at one part, and says what it found, why it matters, what mends it."""
