"""What a plan has left, and what was asked of whom, when and for how much."""
