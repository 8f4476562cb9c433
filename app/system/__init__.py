"""The service as a whole: its keys, its health, its figures, its audit trail."""
