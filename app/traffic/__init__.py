"""Who answers whom: routes, their revisions, and the buckets that make a split of traffic stick."""
