"""The stores of tokens and profiles."""
