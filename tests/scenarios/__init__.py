"""Scenarios that a service must survive: short in `make test`, long in `make proofs`."""
