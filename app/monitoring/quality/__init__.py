"""How good the inputs are."""
