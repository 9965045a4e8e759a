"""Pictures whose mask is known: subjects with fur, hair, holes and thin parts before real backgrounds, and photographs.

``quality`` and the test of the quality's lower limit use them. The seeds are fixed: every run must have the same
pictures. The composites are drawn at four times their size and reduced, so that the share of every edge pixel is exact;
their textures and backgrounds are scikit-image's photographs. The masks of the photographs were traced by hand, or
computed from the measured depth of a stereo pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 960, 720
_OVERSAMPLING = 4


@dataclass(frozen=True, slots=True)
class Subject:
    """One picture and its true mask."""

    name: str
    image: Pixels
    """H x W x 3."""
    alpha: Floats
    """H x W, 0 to 1."""
    known: npt.NDArray[np.bool_]
    """H x W: where the truth is certain; the rest is not scored."""


def composites(kinds: Sequence[str] = (), *, grounds: int = 2) -> Iterator[Subject]:
    """Subjects before backgrounds, with a soft shadow and a camera's noise.

    Args:
        kinds: the beginnings of the names that are wanted; all by default.
        grounds: backgrounds for each.
    """
    for number, (name, (draw, texture, available)) in enumerate(SUBJECTS.items()):
        if kinds and not name.startswith(tuple(kinds)):
            continue
        alpha = draw(np.random.default_rng(number))
        colours = _texture(texture)
        for ground in available[:grounds]:
            weight = alpha[..., None]
            shadow = 1 - 0.3 * cv2.GaussianBlur(np.roll(alpha, (12, 9), (0, 1)), (0, 0), 18)[..., None]
            seen = colours * weight + _ground(ground) * shadow * (1 - weight)
            noise = np.random.default_rng(number).normal(0, 2, seen.shape)
            image = np.clip(seen + noise, 0, 255).astype(np.uint8)
            yield Subject(f"{name} / {ground}", image, alpha, np.ones(alpha.shape, bool))


def photographs() -> Iterator[Subject]:
    """The photographs, each with its true mask."""
    from skimage import data

    yield _traced("coffee", data.coffee(), _COFFEE)
    yield _traced("astronaut", data.astronaut(), _ASTRONAUT)
    yield _motorcycle()


def _canvas() -> Pixels:
    return np.zeros((HEIGHT * _OVERSAMPLING, WIDTH * _OVERSAMPLING), np.uint8)


def _reduce(canvas: Pixels) -> Floats:
    return cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _at(*values: float) -> list[int]:
    return [round(value * _OVERSAMPLING) for value in values]


def _ellipse(canvas: Pixels, x: float, y: float, across: float, down: float, *, thickness: float = 0) -> None:
    line = round(thickness * _OVERSAMPLING) or -1
    cv2.ellipse(canvas, _at(x, y), _at(across, down), 0, 0, 360, 255, line)


def _curve(canvas: Pixels, points: npt.NDArray[np.float64], thickness: float, opacity: int = 255) -> None:
    path = np.round(points * _OVERSAMPLING).astype(np.int32)
    width = max(1, round(thickness * _OVERSAMPLING))
    cv2.polylines(canvas, [path], isClosed=False, color=opacity, thickness=width)


def _strands(
    canvas: Pixels,
    rng: np.random.Generator,
    count: int,
    length: tuple[float, float],
    thickness: tuple[float, float],
) -> None:
    """Draw curved strands that leave the outline of what is on the canvas."""
    contours, _ = cv2.findContours(canvas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge = max(contours, key=len)[:, 0].astype(float) / _OVERSAMPLING
    edge = edge[(edge[:, 1] < HEIGHT - 5)]
    centre = edge.mean(axis=0)
    t = np.linspace(0, 1, 16)[:, None]
    for start in edge[rng.integers(0, len(edge), count)]:
        outward = (start - centre) / (np.linalg.norm(start - centre) + 1e-6)
        across = np.array([-outward[1], outward[0]])
        reach = rng.uniform(*length)
        path = start + reach * (outward * (t - 0.1) + across * (rng.normal(0, 0.5) * t**2))
        _curve(canvas, path, rng.uniform(*thickness), int(rng.integers(150, 256)))


def _horse(rng: np.random.Generator) -> Floats:
    """Scikit-image's silhouette of a horse: thin legs and a tail."""
    from skimage import data

    del rng
    outline = (~data.horse()).astype(np.float32)
    scale = 0.88 * HEIGHT / outline.shape[0]
    size = round(outline.shape[1] * scale), round(outline.shape[0] * scale)
    large = cv2.GaussianBlur(cv2.resize(outline, size, interpolation=cv2.INTER_CUBIC), (0, 0), 2)
    alpha = np.zeros((HEIGHT, WIDTH), np.float32)
    top, left = (HEIGHT - size[1]) // 2, (WIDTH - size[0]) // 2
    alpha[top : top + size[1], left : left + size[0]] = np.clip((large - 0.35) / 0.3, 0, 1)
    return alpha


def _furry(rng: np.random.Generator) -> Floats:
    """An animal sitting: body, head and ears with short fur all around."""
    canvas = _canvas()
    _ellipse(canvas, 480, 520, 190, 230)
    _ellipse(canvas, 480, 250, 130, 110)
    for side in (-1, 1):
        ear = np.array([(480 + side * 120, 240), (480 + side * 115, 90), (480 + side * 40, 160)])
        cv2.fillPoly(canvas, [np.round(ear * _OVERSAMPLING).astype(np.int32)], 255)
    _strands(canvas, rng, 2500, (8, 28), (0.5, 1.6))
    return _reduce(canvas)


def _person(rng: np.random.Generator) -> Floats:
    """Head and shoulders with long loose hair."""
    canvas = _canvas()
    _ellipse(canvas, 480, 270, 115, 150)
    _strands(canvas, rng, 500, (20, 120), (0.5, 1.5))
    cv2.rectangle(canvas, _at(430, 380), _at(530, 520), 255, -1)
    _ellipse(canvas, 480, 720, 300, 240)
    return _reduce(canvas)


def _mug(rng: np.random.Generator) -> Floats:
    """A mug whose thin handle encloses a hole."""
    del rng
    canvas = _canvas()
    _ellipse(canvas, 610, 400, 95, 120, thickness=14)
    cv2.rectangle(canvas, _at(320, 230), _at(600, 560), 255, -1)
    _ellipse(canvas, 460, 230, 140, 45)
    _ellipse(canvas, 460, 560, 140, 45)
    return _reduce(canvas)


def _wheel(rng: np.random.Generator) -> Floats:
    """A bicycle wheel: a rim, a hub, and thin spokes with holes between them."""
    del rng
    canvas = _canvas()
    _ellipse(canvas, 480, 360, 270, 270, thickness=34)
    _ellipse(canvas, 480, 360, 44, 44)
    for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False):
        spoke = np.array([(480, 360), (480 + 265 * np.cos(angle), 360 + 265 * np.sin(angle))])
        _curve(canvas, spoke, 5)
    return _reduce(canvas)


def _handbag(rng: np.random.Generator) -> Floats:
    """A handbag with a long thin handle."""
    del rng
    canvas = _canvas()
    _ellipse(canvas, 480, 330, 150, 240, thickness=12)
    body = np.array([(290, 340), (670, 340), (720, 620), (240, 620)])
    cv2.fillPoly(canvas, [np.round(body * _OVERSAMPLING).astype(np.int32)], 255)
    return _reduce(canvas)


def _plant(rng: np.random.Generator) -> Floats:
    """A pot with thin stems and leaves."""
    canvas = _canvas()
    pot = np.array([(380, 480), (580, 480), (550, 670), (410, 670)])
    cv2.fillPoly(canvas, [np.round(pot * _OVERSAMPLING).astype(np.int32)], 255)
    t = np.linspace(0, 1, 20)[:, None]
    for lean in np.linspace(-1, 1, 9):
        tip = np.array([480 + lean * 260 + rng.normal(0, 15), 90 + 130 * abs(lean) + rng.normal(0, 20)])
        bend = np.array([480 + lean * 60, 260])
        foot = np.array([480 + lean * 70, 485.0])
        stem = (1 - t) ** 2 * foot + 2 * t * (1 - t) * bend + t**2 * tip
        _curve(canvas, stem, 4)
        for place in stem[6::3]:
            angle = float(rng.uniform(0, 180))
            cv2.ellipse(canvas, _at(*place), _at(26, 9), angle, 0, 360, 255, -1)
    return _reduce(canvas)


SUBJECTS: dict[str, tuple[Callable[[np.random.Generator], Floats], str, tuple[str, str]]] = {
    "horse, legs and tail": (_horse, "fur", ("wood", "grass")),
    "animal, fur": (_furry, "fur", ("wall", "garage")),
    "person, loose hair": (_person, "suit", ("evening sky", "gravel")),
    "mug, handle": (_mug, "glaze", ("grass", "wood")),
    "wheel, spokes": (_wheel, "steel", ("garage", "wall")),
    "handbag, thin handle": (_handbag, "leather", ("gravel", "evening sky")),
    "plant, stems": (_plant, "leaves", ("wall", "wood")),
}
"""How each subject is drawn, its texture, and the backgrounds it stands before."""


@cache
def photograph(name: str) -> Pixels:
    """One of the photographs that scikit-image brings along: H x W x 3."""
    from skimage import data

    picture = getattr(data, name)()
    picture = picture[0] if isinstance(picture, tuple) else picture
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


def _cover(picture: Pixels, blur: float = 0) -> Floats:
    scale = max(WIDTH / picture.shape[1], HEIGHT / picture.shape[0])
    size = max(WIDTH, round(picture.shape[1] * scale)), max(HEIGHT, round(picture.shape[0] * scale))
    covering = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)[:HEIGHT, :WIDTH].astype(np.float32)
    return cv2.GaussianBlur(covering, (0, 0), blur) if blur else covering


def _ground(name: str) -> Floats:
    """One of the backgrounds, H x W x 3; it is blurred if a camera would not have it in focus."""
    match name:
        case "wood":
            return _cover(photograph("coffee")[:200, 430:])
        case "wall":
            return _cover(photograph("astronaut")[10:150, 310:370], blur=4)
        case "evening sky":
            return _cover(photograph("rocket")[:340, 215:430])
        case "grass":
            return _cover(photograph("grass")) * np.array([0.75, 1.0, 0.55], np.float32)
        case "garage":
            return _cover(photograph("stereo_motorcycle")[:240], blur=7)
        case "gravel":
            return _cover(photograph("gravel")) * np.array([1.0, 0.93, 0.83], np.float32)
    raise ValueError(name)


def _texture(name: str) -> Floats:
    """The colours of a subject, H x W x 3, shaded from the left as under a lamp."""
    lamp = (0.75 + 0.4 * np.cos(2.5 * (np.arange(WIDTH) / WIDTH - 0.4)))[None, :, None].astype(np.float32)
    match name:
        case "fur":
            colours = _cover(photograph("chelsea")[20:110, 150:270])
        case "suit":
            colours = _cover(photograph("astronaut")[300:500, 60:130])
            hair = _cover(photograph("astronaut")[20:90, 190:280])
            y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
            above = np.clip((450 - y) / 40, 0, 1)[..., None]
            colours = colours * (1 - above) + hair * above
            face = np.clip((1 - np.hypot((x - 480) / 78, (y - 300) / 105)) * 8, 0, 1)[..., None]
            colours = colours * (1 - face) + np.array([214, 168, 140], np.float32) * face
        case "glaze":
            colours = np.full((HEIGHT, WIDTH, 3), (165, 52, 36), np.float32)
        case "steel":
            colours = np.full((HEIGHT, WIDTH, 3), (66, 68, 74), np.float32)
        case "leather":
            colours = _cover(photograph("brick"), blur=1.5) * np.array([0.9, 0.5, 0.3], np.float32)
        case "leaves":
            leaf = _cover(photograph("grass"), blur=1.5) * np.array([0.35, 0.8, 0.3], np.float32)
            pot = np.array([176, 96, 62], np.float32)
            above = np.clip((np.arange(HEIGHT) - 478) / 4, 0, 1)[:, None, None].astype(np.float32)
            colours = leaf * (1 - above) + pot * above
        case _:
            raise ValueError(name)
    return np.clip(colours * lamp, 0, 255)


def _traced(name: str, image: Pixels, outlines: list[list[tuple[float, float]]]) -> Subject:
    """A photograph whose outlines were traced by hand; pixels within two pixels of them are not scored."""
    canvas = np.zeros((image.shape[0] * 4, image.shape[1] * 4), np.uint8)
    for outline in outlines:
        cv2.fillPoly(canvas, [np.round(np.array(outline) * 4).astype(np.int32)], 255)
    alpha = cv2.resize(canvas, image.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return Subject(name, image, alpha, cv2.dilate(alpha, disc) == cv2.erode(alpha, disc))


def _motorcycle() -> Subject:
    """The stereo pair's motorcycle, from the measured depth: nearer than the shelves, and higher than the floor.

    Pixels without a measured depth, and their neighbours, are not scored.
    """
    from skimage import data

    image, _, disparity = data.stereo_motorcycle()
    known = np.isfinite(disparity) & (disparity > 0)
    rows = np.arange(len(disparity))
    open_floor = np.where(known, disparity, np.nan)[:, -60:]
    low = rows > 400  # where the right rim of the picture shows nothing but floor
    slope, offset = np.polyfit(rows[low], np.nanmedian(open_floor[low], axis=1), 1)
    above_floor = disparity > np.maximum(31, slope * rows + offset + 1.5)[:, None]
    alpha = (known & above_floor).astype(np.float32)
    alpha[450:] = 0
    certain = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)) == 1
    return Subject("motorcycle", np.ascontiguousarray(image), alpha, certain)


def _oval(x: float, y: float, across: float, down: float) -> list[tuple[float, float]]:
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    return [(x + across * float(np.cos(angle)), y + down * float(np.sin(angle))) for angle in turn]


# fmt: off
_COFFEE = [
    _oval(291, 112, 118, 94),
    [(180, 70), (165, 77), (150, 86), (130, 102), (115, 118), (100, 138), (88, 163), (80, 190), (77, 215), (79, 245),
     (86, 270), (97, 295), (112, 318), (130, 338), (152, 357), (178, 371), (205, 381), (235, 387), (265, 389),
     (300, 389), (330, 385), (360, 377), (390, 362), (415, 343), (440, 318), (458, 290), (470, 262), (478, 235),
     (479, 212), (474, 185), (464, 160), (450, 135), (432, 112), (417, 101), (424, 80), (424, 73), (420, 68),
     (410, 67), (402, 70), (397, 75), (290, 112)],
]
_ASTRONAUT = [
    [(188, 38), (200, 24), (218, 17), (237, 16), (256, 21), (275, 32), (290, 46), (298, 62), (301, 84), (297, 108),
     (286, 124), (276, 136), (266, 137), (260, 155), (256, 173), (280, 190), (297, 210), (304, 232), (322, 244),
     (337, 262), (347, 284), (356, 308), (361, 330), (364, 348), (385, 344), (410, 344), (440, 353), (465, 375),
     (484, 408), (495, 445), (502, 456), (508, 480), (511, 511), (30, 511), (22, 470), (20, 400), (25, 380),
     (25, 340), (33, 318), (40, 290), (56, 262), (72, 245), (100, 220), (113, 208), (114, 188), (124, 178),
     (138, 160), (155, 150), (175, 149), (183, 150), (181, 132), (172, 120), (160, 104), (154, 88), (153, 66),
     (160, 52), (172, 42)],
]
# fmt: on
