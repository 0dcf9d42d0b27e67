"""What plugin authors test with: a standards-true authorization server with programmable faults, clocks, a real keyring."""
