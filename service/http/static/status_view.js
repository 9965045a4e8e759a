// Shows the state of the service: the lamp in the header, the progress of a cold start, and the banners.

import { element, sentence, setText } from "./words.js";

const LAMP = {
  unknown: "Checking the service",
  unreachable: "The service does not answer",
  ready: "Ready",
  degraded: "Ready, with a problem",
  failing: "Not working at the moment",
  warming: "Starting",
  loading: "Starting",
  load_failed: "Cannot start at the moment",
  draining: "Restarting",
};

const PHASES = {
  import: "Loading the program libraries",
  weights: "Reading the model",
  device: "Preparing the processor",
};

const BROKEN = {
  load_failed: "The service cannot start at the moment.",
  failing: "The service is not working at the moment.",
  degraded: "The service works, but not for every picture.",
};

export class StatusView {
  #service;
  #parts;
  #ticking = 0;

  // parts: the elements lamp, start, startText, startBar, startTime, banners
  constructor(service, parts) {
    this.#service = service;
    this.#parts = parts;
    service.addEventListener("change", () => this.#show());
    this.#show();
  }

  #show() {
    const { state, answer } = this.#service;
    const { lamp, banners } = this.#parts;
    setText(lamp, state === "unreachable" && !navigator.onLine ? "You are offline" : LAMP[state] ?? state);
    lamp.dataset.state = state;
    lamp.title = answer ? [answer.engine, answer.device, answer.precision].filter(Boolean).join(", ") : "";
    this.#showStart();
    showBanners(banners, answer && state !== "unreachable" ? warnings(answer) : []);
  }

  #showStart() {
    const { start, startText, startBar, startTime } = this.#parts;
    const { answer, startSeconds } = this.#service;
    clearTimeout(this.#ticking);
    start.hidden = startSeconds === null;
    if (start.hidden) return;
    setText(startText, answer.state === "warming" ? "Trying the model out" : PHASES[answer.phase] ?? "Starting the service");
    const expected = answer.expected_seconds;
    if (expected && startSeconds < expected) startBar.value = startSeconds / expected;
    else startBar.removeAttribute("value"); // it moves without an end
    setText(startTime, timeOf(startSeconds, expected));
    this.#ticking = setTimeout(() => this.#showStart(), 1000);
  }
}

function timeOf(elapsed, expected) {
  const so = `${Math.floor(elapsed)} s so far`;
  if (!expected) return `${so}; how long it takes here was never measured`;
  const about = `about ${Math.ceil(expected)} s expected (estimated)`;
  return elapsed < expected * 2 ? `${so}, ${about}` : `${so}, longer than expected; ${about}`;
}

function warnings(answer) {
  const found = [];
  if (answer.fallback) {
    found.push({
      title: "A simpler engine is in use.",
      text: "Fine details such as hair or spokes may be lost.",
      detail: sentence(answer.fallback_reason),
    });
  }
  if (answer.weights === "dummy") {
    found.push({ title: "This service is set up for tests only.", text: "Its results are meaningless.", detail: "" });
  }
  if (BROKEN[answer.state]) {
    found.push({
      title: BROKEN[answer.state],
      text: answer.state === "degraded" ? "Pictures may still work." : "It tries again by itself. Your pictures wait for it.",
      detail: sentence(answer.message),
      bad: answer.state !== "degraded",
    });
  }
  return found;
}

function showBanners(banners, found) {
  const titles = JSON.stringify(found.map(({ title }) => title));
  if (banners.dataset.titles !== titles) {
    banners.dataset.titles = titles;
    banners.replaceChildren(...found.map(banner));
  }
  // The detail may change with every poll ("tried again in 7 s"). It is shown, but not read out each time.
  found.forEach(({ detail }, index) => {
    const fold = banners.children[index].querySelector("details");
    fold.hidden = !detail;
    setText(fold.querySelector("p"), detail);
  });
}

function banner({ title, text, bad }) {
  const box = element("div", { className: bad ? "banner bad" : "banner" });
  const fold = element("details", {}, element("summary", {}, "For the operator"), element("p", {}));
  fold.setAttribute("aria-live", "off");
  box.append(element("p", {}, element("strong", {}, title), " ", text), fold);
  return box;
}
