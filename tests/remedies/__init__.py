"""Every remedy that Portico prints, and the situations in which a test follows it."""
