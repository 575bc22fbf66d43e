"""How threads wait for each other: settled before torch is imported. Knows no torch."""

import os


def wait_briefly(*, in_background: bool = False) -> None:
    """Let threads that wait for each other look for half a millisecond, then sleep.

    Left to itself, GNU's OpenMP, which torch has on Linux, looks for so long that whoever waits
    keeps the processor from the thread that is waited for: beside one busy program on two cores
    512 x 512 pixels took 2.0 s instead of 0.26 s. So they take 0.67 s there, and 0.26 s on idle
    cores. It is read from the environment when torch is loaded, and inherited by processes that
    are started; what the user has set stays.

    Parameters
    ----------
    in_background : bool
        Other makes of OpenMP (macOS, Windows), which know no number of turns, are told to let
        their threads sleep at once.
    """
    if "OMP_WAIT_POLICY" not in os.environ:  # which a number of turns would overrule
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if in_background:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
