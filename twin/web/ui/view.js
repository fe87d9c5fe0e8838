// Zoom and pan of the map. The floor fits the window until somebody moves it.

const ZOOM_MIN = 0.15;
const ZOOM_MAX = 3;
const FIT_MAX = 1.5;
const FOOT = 44; // the legend's, at the bottom

export class View {
  dragged = false;
  #root;
  #world;
  #size = { width: 0, height: 0 };
  #x = 0;
  #y = 0;
  #zoom = 1;
  #moved = false;

  constructor(root, world) {
    this.#root = root;
    this.#world = world;
    root.addEventListener("wheel", (e) => this.#wheel(e), { passive: false });
    root.addEventListener("pointerdown", (e) => this.#drag(e));
    root.addEventListener("dblclick", () => this.fit());
    new ResizeObserver(() => {
      if (!this.#moved) this.fit();
    }).observe(root);
  }

  resize(width, height) {
    this.#size = { width, height };
    if (!this.#moved) this.fit();
  }

  fit() {
    const w = this.#root.clientWidth;
    const h = this.#root.clientHeight - FOOT;
    if (w <= 0 || h <= 0 || !this.#size.width) return;
    this.#zoom = Math.min(w / this.#size.width, h / this.#size.height, FIT_MAX);
    this.#x = (w - this.#size.width * this.#zoom) / 2;
    this.#y = (h - this.#size.height * this.#zoom) / 2;
    this.#moved = false;
    this.#apply();
  }

  by(factor, x = this.#root.clientWidth / 2, y = this.#root.clientHeight / 2) {
    const zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, this.#zoom * factor));
    this.#x = x - ((x - this.#x) * zoom) / this.#zoom;
    this.#y = y - ((y - this.#y) * zoom) / this.#zoom;
    this.#zoom = zoom;
    this.#moved = true;
    this.#apply();
  }

  pan(dx, dy) {
    this.#x += dx;
    this.#y += dy;
    this.#moved = true;
    this.#apply();
  }

  #wheel(e) {
    e.preventDefault();
    if (e.ctrlKey || Math.abs(e.deltaY) >= Math.abs(e.deltaX)) {
      const box = this.#root.getBoundingClientRect();
      this.by(Math.exp(-e.deltaY * 0.0015), e.clientX - box.left, e.clientY - box.top);
    } else {
      this.pan(-e.deltaX, 0);
    }
  }

  // #drag pans. Pointer capture starts with the first real move, so that a click
  // still reaches what is under it.
  #drag(down) {
    if (down.button !== 0) return;
    this.dragged = false;
    let { clientX: x, clientY: y } = down;
    const start = { x, y };
    const move = (e) => {
      if (!this.dragged && Math.hypot(e.clientX - start.x, e.clientY - start.y) < 4) return;
      if (!this.dragged) {
        this.dragged = true;
        this.#root.setPointerCapture(down.pointerId);
        this.#root.classList.add("dragging");
      }
      this.pan(e.clientX - x, e.clientY - y);
      x = e.clientX;
      y = e.clientY;
    };
    const up = () => {
      this.#root.classList.remove("dragging");
      this.#root.removeEventListener("pointermove", move);
      removeEventListener("pointerup", up);
      removeEventListener("pointercancel", up);
      setTimeout(() => {
        this.dragged = false;
      });
    };
    this.#root.addEventListener("pointermove", move);
    addEventListener("pointerup", up);
    addEventListener("pointercancel", up);
  }

  #apply() {
    this.#world.setAttribute("transform", `translate(${this.#x.toFixed(1)} ${this.#y.toFixed(1)}) scale(${this.#zoom.toFixed(4)})`);
  }
}
