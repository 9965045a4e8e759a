"""Refuses pictures that cannot meet their deadline, even if nothing else were in the queue.

``admission`` asks as soon as the size is known. Such a request is refused with 422 and the figures, not with 429 or
503: sending it again would not help, and clients and proxies send those again.

A refusal rests on measured times, which can grow out of date, and who is refused is never measured. So a change must
keep this true: one such picture is let in from time to time.
"""

from __future__ import annotations

from collections.abc import Callable

from service.errors import BadDimensions
from service.inference.service_time import ServiceTimes, Work

TRIAL_SECONDS = 300.0
"""Time between two of those that are let in all the same; but at least ``TRIAL_DUTY`` times what one takes."""

TRIAL_DUTY = 20


class TooSlow:
    """The pictures that are too slow for the deadline.

    Args:
        times: what was measured.
        deadline: seconds that a request may take.
        aim: seconds that a picture takes which the message recommends.
        model_input_size: (width, height) of a picture -> that of the model input.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        times: ServiceTimes,
        *,
        deadline: float,
        aim: float,
        model_input_size: Callable[[int, int], tuple[int, int]],
        clock: Callable[[], float],
    ) -> None:
        self._times = times
        self._deadline = deadline
        self._aim = aim
        self._model_input_size = model_input_size
        self._clock = clock
        self._next_trial: float | None = None

    def check(self, work: Work, *, idle: bool) -> None:
        """Do nothing if the picture can be done in time, as far as is known, or is let in for a trial.

        Args:
            work: a trial is noted in it.
            idle: whether nothing else waits; only then there are trials.

        Raises:
            BadDimensions: it takes longer than the deadline.
        """
        seconds = self._times.proved_total(work)
        if seconds <= self._deadline or work.tried or work.size is None:
            return
        now = self._clock()
        due = self._next_trial is not None and now >= self._next_trial and idle
        if due or self._next_trial is None:
            self._next_trial = now + max(TRIAL_SECONDS, TRIAL_DUTY * seconds)
        if due:
            work.tried = True
            return
        width, height = work.size
        raise BadDimensions(
            f"The image is {width} x {height} pixels. At the speed that was measured here it takes {seconds:.0f} s, "
            f"and a request may take {self._deadline:g} s. {self._advice(work, width, height)}"
        )

    def _advice(self, work: Work, width: int, height: int) -> str:
        """What would be served, in words: the largest size of that ratio, in steps of a tenth."""
        for percent in range(90, 0, -10):
            size = max(1, width * percent // 100), max(1, height * percent // 100)
            smaller = Work(size, self._model_input_size(*size), work.input_format, work.output)
            if self._times.expected_total(smaller) <= self._aim:
                return f"Send it with at most {size[0]} x {size[1]} pixels."
        return "At present no smaller one of this shape can be served in time either."
