"""What to say about a name that is not known."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on an unknown name: the nearest known one, or all."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, 1)
    return f": did you mean {close[0]!r}?" if close else f": choose one of {', '.join(known)}."
