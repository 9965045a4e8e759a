// Asks the service for its state, again and again while the page is visible or pictures wait. Says "change" when an
// answer came, or none. It shows nothing: status_view.js does.

const POLL_MS = 5000;
const POLL_UNTIL_READY_MS = 1500;
const TIMEOUT_MS = 8000; // a frozen service takes a connection and never answers

const OPEN = new Set(["ready", "degraded", "failing"]); // states in which a picture that is sent gets its turn

export class ServiceStatus extends EventTarget {
  state = "unknown"; // or "unreachable", or a state of the service
  answer = null; // the last one
  answeredAt = 0;
  neededWhileHidden = () => false;
  #timer = 0;
  #asking = false;

  get open() {
    return OPEN.has(this.state);
  }

  start() {
    document.addEventListener("visibilitychange", () => this.ask());
    addEventListener("online", () => this.ask());
    addEventListener("offline", () => this.ask());
    this.ask();
  }

  async ask() {
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    let answer = null;
    try {
      const response = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      answer = await response.json();
    } catch {
      // There is no answer in time, or it does not come from the service.
    }
    this.#asking = false;
    this.state = answer?.state ?? "unreachable";
    if (answer?.state) this.answer = answer;
    this.answeredAt = performance.now();
    this.dispatchEvent(new Event("change"));
    if (document.hidden && !this.neededWhileHidden()) return;
    this.#timer = setTimeout(() => this.ask(), this.state === "ready" ? POLL_MS : POLL_UNTIL_READY_MS);
  }

  // Seconds since the start of the service, counted on since the last answer; null unless it is starting.
  get startSeconds() {
    const seconds = this.open || this.state === "unreachable" ? null : this.answer?.start_seconds;
    return seconds == null ? null : seconds + (performance.now() - this.answeredAt) / 1000;
  }
}
