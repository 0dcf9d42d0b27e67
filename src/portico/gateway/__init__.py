"""The gateway: a local server through which tools use models with a gateway key, and which keeps tokens fresh."""
