"""Every decision of the hub as plain functions over values: no `async`, no clock, no randomness, no I/O."""
