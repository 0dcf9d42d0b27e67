"""How Portico speaks to servers."""
