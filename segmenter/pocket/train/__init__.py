"""How the pocket models were made: `python -m segmenter.pocket.train`.

A room above all others: it makes models and fits presence with what they read. Nobody
imports it but tests.
"""

__all__: list[str] = []
