"""Run a plugin's emulator, so that commands reach it instead of the real hosts."""
