"""Series that are followed for changes of level and volatility."""
