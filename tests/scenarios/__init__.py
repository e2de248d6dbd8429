"""What happens to a service: `make test` plays it in small, `make proofs` at length."""
