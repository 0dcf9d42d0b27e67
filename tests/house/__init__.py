"""The shape of the source: how many rooms it has, and how many a reader of one command enters. `python -m tests.house` prints it."""
