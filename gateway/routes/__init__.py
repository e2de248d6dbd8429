"""REST endpoints, a router per topic."""
