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

export function watchWarmth(status, detail, banners) {
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
    setText(detail, said.status === "pending" ? sentence(said.reason) : "");
    setBanners(warnings(said));
  }

  function showUnreachable() {
    setText(status, "No answer from the service");
    status.dataset.state = "unreachable";
    setText(detail, "");
  }

  function setBanners(wanted) {
    const titles = JSON.stringify(wanted.map(({ title }) => title));
    if (banners.dataset.titles !== titles) {
      banners.dataset.titles = titles;
      banners.replaceChildren(...wanted.map(banner));
    }
    // What follows a title may change with every poll ("tried again in 7 s"): seen, but not read out each time.
    wanted.forEach(({ text }, index) => setText(banners.children[index].lastChild, text));
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) ask("GET");
  });
  ask("GET");
  // Opening the page is reason enough to warm the service. The answer may take as long as a load: it is not waited for.
  fetch("warmup", { method: "POST" }).then(() => ask("GET"), () => {});
}

function banner({ title, text, bad }) {
  const whole = document.createElement("p");
  const strong = document.createElement("strong");
  const rest = document.createElement("span");
  whole.className = bad ? "banner bad" : "banner";
  rest.setAttribute("aria-live", "off");
  strong.textContent = title;
  rest.textContent = text;
  whole.append(strong, rest);
  return whole;
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
