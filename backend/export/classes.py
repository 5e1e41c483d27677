"""Labels and their numbers, from 0 on."""

from collections.abc import Iterable


class Classes:
    """Labels in the order of the label config; behind them those that only tasks know.

    Those are labels of the tasks' own data, and what was in the config once.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Begin with the label config's."""
        self._numbers = {name: number for number, name in enumerate(names)}
        self.n_configured = len(self._numbers)

    def __len__(self) -> int:
        """How many there are by now."""
        return len(self._numbers)

    def number(self, name: str) -> int:
        """The label's number, a new one for a label that was not seen yet."""
        return self._numbers.setdefault(name, len(self._numbers))

    @property
    def names(self) -> tuple[str, ...]:
        """All by number."""
        return tuple(self._numbers)

    @property
    def not_configured(self) -> tuple[str, ...]:
        """Those that the label config does not hold."""
        return self.names[self.n_configured :]
