"""The canaries of all sizes: their pictures, and the judge of each.

``target`` keeps one ``Canaries``. A canary's picture is exactly as large as its model input, except the small one: an
engine gives a picture of that size the same model input. Those of the small canary and of the real size are kept;
others are rarely needed, and take megabytes.
"""

from __future__ import annotations

from service.engines.protocol import Engine
from service.warmup.canary import Judge, picture
from supervisor.protocol import Size

MOST_KEPT = 3
"""Pictures and judges of other sizes that are kept, the most recent ones."""


class Canaries:
    """Pictures by size, and the first mask of each that passed.

    Args:
        engine: says which model input the small canary has.
        side: of the small canary, in pixels.
    """

    def __init__(self, engine: Engine, *, side: int) -> None:
        self.small = Size(side, side)
        self._engine = engine
        self._always = {self.small}
        self._pictures: dict[Size, bytes] = {}
        self._judges: dict[Size, Judge] = {}

    @property
    def small_model_input(self) -> Size:
        """The model input of the small canary."""
        return Size(*self._engine.model_input_size(*self.small))

    def keep(self, real: Size) -> None:
        """Keep what belongs to the real size as well as to the small one: its masks must never drift unseen."""
        self._always = {self.small, real}

    def make(self, size: Size) -> None:
        """Make the picture of this size, in any thread; a second for one of several megapixels."""
        if size not in self._pictures:
            self._pictures[size] = picture(*size)

    def picture(self, size: Size) -> bytes:
        """The picture of this size, which has been made."""
        return self._pictures[size]

    def judge(self, size: Size) -> Judge:
        """The judge of this size."""
        judge = self._judges.pop(size, None) or Judge(size)
        self._judges[size] = judge  # now the most recent one
        for others in (self._judges, self._pictures):
            for old in [it for it in others if it not in self._always][:-MOST_KEPT]:
                del others[old]
        return judge

    def forget(self) -> None:
        """The engine computes other masks now: whatever passed before is no measure any more."""
        self._judges.clear()
