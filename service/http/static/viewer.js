// Shows a picture before and after, with a divider between, and lets a person zoom and move it.
//
// The layers fill the frame and are clipped at the divider. The picture inside each is moved and scaled, so that the
// divider needs no arithmetic. Everything is passed to the style sheet in custom properties.

const LARGEST_ZOOM = 16;
const STEP = 1.5;
const GRIP_PX = 22; // so close to the divider, a pointer moves it even when zoomed in
const PAN_STEP = 0.1; // of the frame

export class Viewer {
  #frame;
  #slider;
  #view = { zoom: 1, x: 0, y: 0 };
  #split = 50;
  #pointers = new Map();
  #moves = null; // "split" or "picture"

  constructor(frame, slider, { zoomIn, zoomOut, whole }) {
    this.#frame = frame;
    this.#slider = slider;
    zoomIn.addEventListener("click", () => this.#zoomAtMiddle(STEP));
    zoomOut.addEventListener("click", () => this.#zoomAtMiddle(1 / STEP));
    whole.addEventListener("click", () => this.#place({ zoom: 1, x: 0, y: 0 }));
    slider.addEventListener("input", () => this.#divide(Number(slider.value)));
    slider.addEventListener("keydown", (event) => this.#key(event));
    frame.addEventListener("pointerdown", (event) => this.#down(event));
    frame.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, ({ pointerId }) => this.#pointers.delete(pointerId));
    frame.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    frame.addEventListener("dblclick", (event) => this.#zoom(this.#view.zoom > 1 ? 1 / LARGEST_ZOOM : 3, this.#at(event)));
  }

  // A picture of this size comes next: the whole of it, with the divider in the middle.
  reset(width, height) {
    this.#frame.style.setProperty("--width", width);
    this.#frame.style.setProperty("--height", height);
    this.#place({ zoom: 1, x: 0, y: 0 });
    this.#slider.value = 50;
    this.#divide(50);
  }

  #divide(percent) {
    this.#split = Math.min(100, Math.max(0, percent));
    this.#frame.style.setProperty("--split", `${this.#split}%`);
  }

  #place({ zoom, x, y }) {
    const { clientWidth: width, clientHeight: height } = this.#frame;
    this.#view = {
      zoom,
      x: Math.min(0, Math.max(width * (1 - zoom), x)),
      y: Math.min(0, Math.max(height * (1 - zoom), y)),
    };
    this.#frame.style.setProperty("--zoom", zoom);
    this.#frame.style.setProperty("--x", `${this.#view.x}px`);
    this.#frame.style.setProperty("--y", `${this.#view.y}px`);
    this.#frame.classList.toggle("zoomed", zoom > 1);
  }

  // What is at this point stays there.
  #zoom(factor, { x, y }) {
    const { zoom, x: left, y: top } = this.#view;
    const next = Math.min(LARGEST_ZOOM, Math.max(1, zoom * factor));
    this.#place({ zoom: next, x: x - ((x - left) * next) / zoom, y: y - ((y - top) * next) / zoom });
  }

  #zoomAtMiddle(factor) {
    this.#zoom(factor, { x: this.#frame.clientWidth / 2, y: this.#frame.clientHeight / 2 });
  }

  #pan(x, y) {
    this.#place({ zoom: this.#view.zoom, x: this.#view.x + x, y: this.#view.y + y });
  }

  #at({ clientX, clientY }) {
    const box = this.#frame.getBoundingClientRect();
    return { x: clientX - box.left - this.#frame.clientLeft, y: clientY - box.top - this.#frame.clientTop };
  }

  #splitTo({ x }) {
    const percent = (100 * x) / this.#frame.clientWidth;
    this.#divide(percent);
    this.#slider.value = percent;
  }

  #down(event) {
    if (event.button !== 0) return;
    this.#frame.setPointerCapture(event.pointerId);
    const at = this.#at(event);
    this.#pointers.set(event.pointerId, at);
    const onDivider = Math.abs(at.x - (this.#split / 100) * this.#frame.clientWidth) < GRIP_PX;
    this.#moves = this.#view.zoom > 1 && !onDivider ? "picture" : "split";
    if (this.#moves === "split" && this.#pointers.size === 1) this.#splitTo(at);
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#at(event);
    this.#pointers.set(event.pointerId, now);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) this.#zoom(distance(now, other) / (distance(before, other) || 1), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    else if (this.#moves === "split") this.#splitTo(now);
    else this.#pan(now.x - before.x, now.y - before.y);
  }

  // A wheel alone scrolls the page, as people expect. With Ctrl, or as a pinch on a touchpad, it zooms.
  #wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.#zoom(Math.exp(-event.deltaY / 200), this.#at(event));
  }

  #key(event) {
    const { clientWidth: width, clientHeight: height } = this.#frame;
    const pans = { ArrowLeft: [width, 0], ArrowRight: [-width, 0], ArrowUp: [0, height], ArrowDown: [0, -height] };
    if (event.shiftKey && pans[event.key]) this.#pan(...pans[event.key].map((side) => side * PAN_STEP));
    else if (event.key === "+" || event.key === "=") this.#zoomAtMiddle(STEP);
    else if (event.key === "-") this.#zoomAtMiddle(1 / STEP);
    else if (event.key === "0") this.#place({ zoom: 1, x: 0, y: 0 });
    else return;
    event.preventDefault();
  }
}

function distance(one, other) {
  return Math.hypot(one.x - other.x, one.y - other.y);
}
