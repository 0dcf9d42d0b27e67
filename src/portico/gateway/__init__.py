"""The background process that keeps tokens fresh; over HTTP it tells only that it is there."""
