"""Whether the queue of an open loop grows: the later a request is due, the longer it takes."""

from __future__ import annotations

import math

# A smaller slope is within the precision of --find-max.
_LEAST = 0.05
# A slope must exceed 0 by this many standard errors; answers of unlike length make chance slopes.
_CLEAR = 2.0
_ENOUGH = 10


class Growth:
    """Fits a line through end-to-end times over the moments at which requests were due.

    Above the server's capacity the queue grows for as long as the load lasts. Such a rate may meet
    an objective in a short measurement and miss it in a longer one.
    """

    def __init__(self) -> None:
        self._count = 0
        self._zero_s = 0.0
        self._x = self._y = self._xx = self._xy = self._yy = 0.0

    def add(self, due_s: float | None, took_s: float) -> None:
        """Add a request; one of a closed loop, without a due time, is ignored.

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
        """Seconds by which answers get slower per second of load; None where there is no trend.

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
