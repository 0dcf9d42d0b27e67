"""HTTP: the client of everything that talks to a server, the servers on loopback, and what a failure means."""
