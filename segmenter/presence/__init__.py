"""Which labels are in the picture."""
