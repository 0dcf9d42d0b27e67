"""Helpers for every layer: files, locks, threads, tasks, signals, time."""
