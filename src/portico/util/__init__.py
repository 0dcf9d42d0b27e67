"""What every part of the program stands on: files, locks, threads, tasks, signals, time."""
