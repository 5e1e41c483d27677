"""How the pocket models were made: `python -m segmenter.pocket.train`."""
