"""How labels are read: fast mode and paper mode."""
