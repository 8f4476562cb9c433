"""Pure statistics: numpy in, frozen dataclasses out; no clock, no session, no framework."""
