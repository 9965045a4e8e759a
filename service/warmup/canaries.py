"""The canaries of all sizes: their pictures, and the judge of each.

``target`` keeps one ``Canaries``. A canary's picture is exactly as large as its model input, except the small one: an
engine gives a picture of that size the same model input. Only the small canary and the one at the real size are kept,
because others are rarely needed and take megabytes.
"""

from __future__ import annotations

from service.engines.protocol import Engine
from service.warmup.canary import Judge, picture
from supervisor.protocol import Size

MOST_KEPT = 3
"""Pictures and judges that are kept beside the small canary's, the most recent ones."""


class Canaries:
    """Pictures by size, and the first mask of each that passed.

    Args:
        engine: says which model input the small canary has.
        side: of the small canary, in pixels.
    """

    def __init__(self, engine: Engine, *, side: int) -> None:
        self.small = Size(side, side)
        self._engine = engine
        self._pictures: dict[Size, bytes] = {}
        self._judges: dict[Size, Judge] = {}

    @property
    def small_model_input(self) -> Size:
        """The model input of the small canary."""
        return Size(*self._engine.model_input_size(*self.small))

    def make_small(self) -> None:
        """Make the picture of the small canary, in any thread; it takes milliseconds."""
        self.make(self.small)

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
            for old in [it for it in others if it != self.small][:-MOST_KEPT]:
                del others[old]
        return judge

    def forget(self) -> None:
        """The engine computes other masks now: whatever passed before is no measure any more."""
        self._judges.clear()
