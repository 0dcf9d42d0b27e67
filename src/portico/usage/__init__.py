"""Usage: the rest of plans, and the history of requests with their cost."""
