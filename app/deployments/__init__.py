"""Changes of who answers traffic, over time: started, prepared, judged, settled."""
