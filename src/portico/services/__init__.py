"""The operating system's own keepers of background processes, and how a process of theirs talks to them."""
