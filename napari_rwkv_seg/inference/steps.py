"""Work that is done in steps, by a generator: run it to its end, and take what it returns."""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

News = TypeVar("News")
Result = TypeVar("Result")


def drained(
    steps: Generator[News, Any, Result], hear: Callable[[News], object] | None = None
) -> Result:
    """Return what a generator returns.

    Parameters
    ----------
    steps : generator
        Is closed in the end, also if `hear` raises.
    hear : callable, optional
        Is given what the generator yields; what it raises ends the work.
    """
    try:
        while True:
            news = next(steps)
            if hear is not None:
                hear(news)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()
