"""The referee: plays the original's figures against this library, in every runtime."""
