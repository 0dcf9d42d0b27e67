"""The background process that keeps tokens fresh and answers local tools."""
