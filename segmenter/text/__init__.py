"""Labels in, token embeddings out."""
