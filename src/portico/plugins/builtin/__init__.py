"""The providers that come with Portico; they register through the same hooks as anybody's."""
