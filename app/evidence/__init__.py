"""What was answered, and what turned out to be true: the spool, the prediction log and the outcomes."""
