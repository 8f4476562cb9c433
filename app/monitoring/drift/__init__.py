"""Whether what is asked and answered is distributed as it was."""
