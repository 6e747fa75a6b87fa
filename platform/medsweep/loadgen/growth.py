"""Whether a server falls behind: answers that take longer the later they are asked for."""

from __future__ import annotations

import math

# Less is within what a search for the highest rate leaves open.
_LEAST = 0.05
# Standard errors by which a slope must exceed 0; answers of unlike length make slopes by chance.
_CLEAR = 2.0
_ENOUGH = 10


class Growth:
    """Fits a line through end-to-end times over the moments at which requests were due.

    A server that is asked for more than it can give has a queue that grows for as long as the
    load lasts. Such a rate may meet an objective in a short measurement and misses it in a longer
    one, so that how it is judged must not depend on that.
    """

    def __init__(self) -> None:
        self._count = 0
        self._zero_s = 0.0
        self._x = self._y = self._xx = self._xy = self._yy = 0.0

    def add(self, due_s: float | None, took_s: float) -> None:
        """Take a request; one without a due time, of a closed loop, says nothing.

        Args:
            due_s: when it was due, in seconds.
            took_s: from then to its end, in seconds.
        """
        if due_s is None:
            return
        if not self._count:
            self._zero_s = due_s  # sums of squares of small numbers lose no digits
        x = due_s - self._zero_s
        self._count += 1
        self._x += x
        self._y += took_s
        self._xx += x * x
        self._xy += x * took_s
        self._yy += took_s * took_s

    @property
    def slope(self) -> float | None:
        """Seconds that answers take longer for each second of load; None where there is no trend.

        Ordinary least squares; a slope under 0.05 s/s, or within two standard errors of 0, is none.
        """
        n = self._count
        spread = self._xx - self._x * self._x / n if n else 0.0
        if n < _ENOUGH or spread <= 0:
            return None
        together = self._xy - self._x * self._y / n
        slope = together / spread
        rest = max(0.0, self._yy - self._y * self._y / n - slope * together)
        error = math.sqrt(rest / (n - 2) / spread)
        return slope if slope >= _LEAST and slope > _CLEAR * error else None
