"""Running a plugin's emulator so that real commands meet it in place of the real hosts."""
