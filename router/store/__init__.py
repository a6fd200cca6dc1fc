"""Durability: the Store interface (`base`) and its implementations."""
