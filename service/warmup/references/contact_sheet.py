"""The contact sheet: one page that shows every reference, for the person who accepts them.

``acceptance`` writes it beside the manifest. It must open from the disk, without a server and without any request, so
it holds reduced pictures itself. File names may hold any character, so everything that comes from outside is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from service.warmup.references.manifest import Manifest, Reference

FILE_NAME = "index.html"

THUMBNAIL_SIDE = 360
"""Longest side in pixels of the reduced pictures: three fit side by side on a laptop's screen."""

LOOSE = 0.05
"""A reference with a larger ``max_error`` proves little: u2netp's masks differ about that much from the true ones."""

_GENERATOR = '<meta name="generator" content="inspyrenet accept">'

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{generator}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>References</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2330 }}
article {{ border-top: 1px solid #d5d9e0; padding: 1rem 0 }}
h2 {{ font-size: 1.05rem; margin: 0 0 .3rem; overflow-wrap: anywhere }}
.pictures {{ display: flex; gap: 1rem; flex-wrap: wrap }}
figure {{ margin: .5rem 0 }}
figcaption, .figures {{ color: #566; font-size: .9rem }}
img {{ display: block; max-width: 100%; border: 1px solid #d5d9e0 }}
.cut-out {{ background: repeating-conic-gradient(#c8ccd4 0 25%, #fff 0 50%) 0 0 / 20px 20px }}
.loose {{ color: #a11212; font-weight: 600 }}
</style>
</head>
<body>
<h1>References</h1>
<p>{count}, accepted at {accepted_at} with the engine {engines}.</p>
<p>Look at every picture: a service with these references calls a mask right if it is like the one shown here.
To remove a picture, delete its file and run <code>accept</code> again.</p>
{articles}
</body>
</html>
"""

_ARTICLE = """\
<article>
<h2>{name}</h2>
<div class="pictures">
<figure><a href="{picture_link}"><img src="{picture}" alt="the picture"></a>
<figcaption>the picture</figcaption></figure>
<figure><a href="{mask_link}"><img src="{mask}" alt="the accepted mask"></a>
<figcaption>the accepted mask ({source})</figcaption></figure>
<figure><img class="cut-out" src="{cut_out}" alt="the cut-out">
<figcaption>the cut-out that the engine makes</figcaption></figure>
</div>
<p class="figures">{width} x {height} pixels.{measured}
<span{loose}>A mask agrees up to an error of {max_error}.{loose_words}</span></p>
</article>
"""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """The reduced pictures of one reference, as WebP files."""

    picture: bytes
    mask: bytes
    cut_out: bytes


def thumbnail(image: Image.Image, *, icc: bytes | None = None) -> bytes:
    """A picture reduced to ``THUMBNAIL_SIDE``, as WebP; transparency stays."""
    small = image.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    if small.mode not in {"RGB", "RGBA"}:
        small = small.convert("RGB")
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=85, method=2, icc_profile=icc or b"")
    return buffer.getvalue()


def render(manifest: Manifest, thumbnails: Mapping[str, Thumbnails]) -> str:
    """The page.

    Args:
        manifest: the references.
        thumbnails: by the name of the reference.
    """
    references = manifest.references
    engines = sorted({f"{reference.engine} (weights {reference.weights})" for reference in references})
    return _PAGE.format(
        generator=_GENERATOR,
        count="1 picture" if len(references) == 1 else f"{len(references)} pictures",
        accepted_at=escape(manifest.accepted_at),
        engines=escape(" and ".join(engines)),
        articles="\n".join(_article(reference, thumbnails[reference.file]) for reference in references),
    )


def is_one(path: Path) -> bool:
    """Whether a file is a contact sheet, which may be overwritten."""
    with path.open("rb") as file:
        return _GENERATOR.encode() in file.read(1000)


def _article(reference: Reference, thumbnails: Thumbnails) -> str:
    loose = reference.max_error > LOOSE
    return _ARTICLE.format(
        name=escape(reference.file),
        picture_link=_link(reference.file),
        mask_link=_link(reference.mask),
        picture=_data(thumbnails.picture),
        mask=_data(thumbnails.mask),
        cut_out=_data(thumbnails.cut_out),
        source="made by the engine" if reference.mask_from == "engine" else "given",
        width=reference.size[0],
        height=reference.size[1],
        measured=_measured(reference),
        max_error=_figure(reference.max_error),
        loose=' class="loose"' if loose else "",
        loose_words=" That is so much that it proves little." if loose else "",
    )


def _measured(reference: Reference) -> str:
    if reference.mask_from == "given":
        return f" The engine's mask differs from the given one by {_figure(reference.measured)}."
    return f" fp32 and bf16 differ by {_figure(reference.measured)}." if reference.measured else ""


def _figure(error: float) -> str:
    return f"{error:.4f} ({error * 255:.1f}/255)"


def _link(file: str) -> str:
    return escape("./" + quote(file))  # "./", because a name may look like a scheme: "data:..."


def _data(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode()
