"""Tools for the tests of plugins: an authorization server that follows the standards, with programmable faults; a clock; a real
keyring.
"""
