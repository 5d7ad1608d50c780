"""Speed beside the peers: see README.md here."""
