"""HTTP: the client for all requests to servers, servers on loopback, and network errors."""
