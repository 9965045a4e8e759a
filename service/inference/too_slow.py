"""Refuses pictures that cannot meet their deadline, even if nothing else were in the queue.

``admission`` asks as soon as the size is known. Such a request is refused with 422 and the figures, not with 429 or
503: sending it again would not help, and clients and proxies send those again.

A refusal rests on measured times, which can grow out of date, and who is refused is never measured. So one such picture
is let in from time to time, as a trial. A change must keep this true: trials go on, however busy the service is and
however its clients behave, and they take at most one part in ``TRIAL_DUTY`` of the time.
"""

from __future__ import annotations

from collections.abc import Callable

from service.errors import BadDimensions
from service.inference.service_time import ServiceTimes, Work

TRIAL_DUTY = 20
"""The pause after a trial is so many times as long as the threads worked on it. While other requests are in the queue
it is twice as long, so that a quiet moment comes first, if there is one."""


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
        self._trying = False
        self._pause_began = 0.0
        self._pause: float | None = None

    def check(self, work: Work, *, idle: bool, complete: bool) -> bool:
        """Refuse the picture if it cannot be done in time, unless a trial is due.

        Args:
            work: a trial is noted in it.
            idle: whether nothing else waits.
            complete: whether the body of the request is in. Only then it takes the trial: nobody can keep others from
                it by an upload that never ends.

        Returns:
            Whether it is let in as a trial.

        Raises:
            BadDimensions: it takes longer than the deadline.
        """
        seconds = self._times.proved_total(work)
        if work.tried or seconds <= self._deadline or work.size is None:
            return work.tried
        if self._trial_is_due(seconds, idle=idle):
            work.tried = self._trying = complete
            return True
        width, height = work.size
        raise BadDimensions(
            f"The image is {width} x {height} pixels. At the speed that was measured here it takes {seconds:.0f} s, "
            f"and a request may take {self._deadline:g} s. {self._advice(work, width, height)}"
        )

    def trial_ended(self, seconds: float) -> None:
        """The request that took the trial holds no thread any more.

        Args:
            seconds: so long threads worked on it; if not at all, the next one gets the trial.
        """
        self._trying = False
        if seconds:
            self._begin_pause(TRIAL_DUTY * seconds)

    def _trial_is_due(self, seconds: float, *, idle: bool) -> bool:
        if self._pause is None:  # the first refusal: what it rests on was measured just now
            self._begin_pause(TRIAL_DUTY * seconds)
            return False
        pause = self._pause if idle else 2 * self._pause
        return not self._trying and self._clock() - self._pause_began >= pause

    def _begin_pause(self, seconds: float) -> None:
        self._pause_began, self._pause = self._clock(), seconds

    def _advice(self, work: Work, width: int, height: int) -> str:
        """What would be served, in words: the largest size of that ratio, in steps of a tenth."""
        for percent in range(90, 0, -10):
            size = max(1, width * percent // 100), max(1, height * percent // 100)
            smaller = Work(size, self._model_input_size(*size), work.input_format, work.output)
            if self._times.expected_total(smaller) <= self._aim:
                return f"Send it with at most {size[0]} x {size[1]} pixels."
        return "At present no smaller one of this shape can be served in time either."
