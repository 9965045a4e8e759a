// The list of pictures, each with its state, its problem and what can be done with it. Rows are changed in place, so
// that the focus stays where it is.

import { element, setText } from "./words.js";

const HELD = {
  unknown: "Waits for the service",
  unreachable: "Waits until the service answers",
  load_failed: "Waits until the service can start",
};

export class ListView {
  #list;
  #queue;
  #service;
  #actions;
  #rows = new Map();
  #ticking = 0;

  // actions: choose(picture), removed(picture)
  constructor(list, queue, service, actions) {
    this.#list = list;
    this.#queue = queue;
    this.#service = service;
    this.#actions = actions;
    queue.addEventListener("added", ({ detail }) => detail.forEach((picture) => this.#add(picture)));
    queue.addEventListener("change", () => this.#update());
    service.addEventListener("change", () => this.#update());
  }

  mark(chosen) {
    for (const [picture, row] of this.#rows) row.pick.setAttribute("aria-current", picture === chosen);
  }

  #add(picture) {
    const thumb = element("img", { alt: "", src: URL.createObjectURL(picture.file) });
    thumb.addEventListener("error", () => thumb.classList.add("unseen"));
    const state = element("span", { className: "quiet" });
    const pick = element("button", { type: "button", className: "pick" }, thumb, element("span", {}, element("strong", {}, picture.name), state));
    const bar = element("progress", { max: 1, value: 0, ariaLabel: `Sending ${picture.name}` });
    const button = (word, act) => {
      const made = element("button", { type: "button", className: "plain small", ariaLabel: `${word} ${picture.name}` }, word);
      made.addEventListener("click", act);
      return made;
    };
    const row = {
      pick,
      thumb,
      state,
      bar,
      cancel: button("Cancel", () => this.#queue.cancel(picture)),
      retry: button("Try again", () => this.#queue.retry(picture)),
      remove: button("Remove", () => this.#remove(picture)),
      problem: element("p", { className: "problem" }),
    };
    row.item = element("li", { className: "picture" }, pick, bar, row.cancel, row.retry, row.remove, row.problem);
    pick.addEventListener("click", () => this.#actions.choose(picture));
    this.#rows.set(picture, row);
    this.#list.append(row.item);
    this.#list.hidden = false;
    this.#update();
  }

  #remove(picture) {
    const { item, thumb } = this.#rows.get(picture);
    const neighbour = item.nextElementSibling ?? item.previousElementSibling;
    this.#rows.delete(picture);
    this.#queue.remove(picture);
    URL.revokeObjectURL(thumb.src);
    item.remove();
    this.#list.hidden = !this.#rows.size;
    this.#actions.removed(picture, neighbour?.querySelector(".pick"));
  }

  #update() {
    clearTimeout(this.#ticking);
    for (const [picture, row] of this.#rows) this.#updateRow(picture, row);
    if (this.#queue.unfinished) this.#ticking = setTimeout(() => this.#update(), 500);
  }

  #updateRow(picture, row) {
    const { state, problem, sent } = picture;
    const unfinished = ["waiting", "sending", "working"].includes(state);
    const again = state === "cancelled" || (state === "failed" && problem.then !== "stop");
    const focused = document.activeElement;
    row.item.dataset.state = state;
    setText(row.state, this.#stateOf(picture));
    row.bar.hidden = state !== "sending";
    row.bar.value = sent ?? 0;
    row.cancel.hidden = !unfinished;
    row.retry.hidden = !again;
    row.remove.hidden = unfinished;
    if (focused?.hidden && row.item.contains(focused)) row.pick.focus(); // a hidden button would drop the focus
    row.problem.hidden = !problem;
    setText(row.problem, problem ? `${problem.title} ${problem.message}${problem.requestId ? ` (request ${problem.requestId})` : ""}` : "");
  }

  #stateOf(picture) {
    const seconds = Math.floor((performance.now() - picture.since) / 1000);
    switch (picture.state) {
      case "waiting":
        return this.#waitOf(picture);
      case "sending":
        return `Sending, ${Math.floor(picture.sent * 100)} %`;
      case "working":
        return `Removing the background, ${seconds} s`;
      case "done":
        return "Done";
      case "failed":
        return "Failed";
      default:
        return "Cancelled";
    }
  }

  #waitOf(picture) {
    if (!navigator.onLine) return "Waits until you are online";
    if (!this.#service.open) return HELD[this.#service.state] ?? "Waits for the service to start";
    const due = this.#queue.dueAt(picture);
    return due ? `Sent again in ${Math.ceil((due - performance.now()) / 1000)} s` : "Waits for its turn";
  }
}
