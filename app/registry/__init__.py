"""Models and their versions: what was registered, from which bytes, signed by whom, at which stage."""
