"""Does the world still look as it did when the model was made, and does the model still do its work?"""
