"""Tools for the tests of plugins: a standard authorization server with programmable faults, a clock, and a real keyring."""
