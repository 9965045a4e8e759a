// How warm the service is, from /warmup: asked again and again while the page is in view, and shown as it is.

const POLL_MS = 5000;
const IMPATIENT_POLL_MS = 1500; // until it is ready

const STATES = {
  ready: "Ready",
  degraded: "Ready, but the last check failed",
  failing: "Failing",
  warming: "Warming up",
  loading: "Loading the model",
  draining: "Shutting down",
};

export function watchWarmth(status, banners) {
  let timer = 0;

  async function ask(method) {
    clearTimeout(timer);
    let said = null;
    try {
      const response = await fetch("warmup", { method, cache: "no-store" });
      said = await response.json();
    } catch {
      // no answer, or not one of the service's
    }
    if (said?.state) show(said);
    else showUnreachable();
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(ask, said?.state === "ready" ? POLL_MS : IMPATIENT_POLL_MS, "GET");
  }

  function show(said) {
    const about = [STATES[said.state] ?? said.state, said.engine, said.device, said.precision];
    setText(status, about.filter(Boolean).join(" · "));
    status.dataset.state = said.state;
    setBanners(warnings(said));
  }

  function showUnreachable() {
    setText(status, "No answer from the service");
    status.dataset.state = "unreachable";
  }

  function setBanners(wanted) {
    const key = JSON.stringify(wanted);
    if (banners.dataset.key === key) return; // said once; a screen reader need not hear it every 5 s
    banners.dataset.key = key;
    banners.replaceChildren(
      ...wanted.map(({ title, text, bad }) => {
        const banner = document.createElement("p");
        banner.className = bad ? "banner bad" : "banner";
        const strong = document.createElement("strong");
        strong.textContent = title;
        banner.append(strong, text);
        return banner;
      }),
    );
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) ask("GET");
  });
  ask("GET");
  // Opening the page is reason enough to warm the service. The answer may take as long as a load: it is not waited for.
  fetch("warmup", { method: "POST" }).then(() => ask("GET"), () => {});
}

function warnings(said) {
  const found = [];
  if (said.fallback) {
    found.push({
      title: "This is not InSPyReNet: a stand-in is answering.",
      text: `${sentence(said.fallback_reason)} The ${said.engine} engine cuts out what stands out before a calm `
        + "background, and is no match for the real one on anything harder.",
    });
  }
  if (said.weights === "dummy") {
    found.push({
      title: "Dummy weights are loaded.",
      text: "The masks mean nothing: this service is set up for tests, not for pictures.",
    });
  }
  if (said.status === "error") {
    found.push({ title: "The last check of the service failed.", text: sentence(said.message), bad: true });
  }
  return found;
}

function sentence(text) {
  const trimmed = (text ?? "").trim().replace(/^./, (first) => first.toUpperCase());
  return !trimmed || /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
