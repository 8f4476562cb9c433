"""The bytes of models: taken in, stored by their digest, signed, and verified before they are loaded."""
