"""Predict: route, batch, score, spool, answer; and the shadows that are scored afterwards."""
