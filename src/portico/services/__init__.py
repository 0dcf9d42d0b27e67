"""Background services: the service managers of the operating system, and the state of the gateway process."""
