// Shows the state of the service. The page asks /warmup again and again while it is visible.

const POLL_MS = 5000;
const POLL_UNTIL_READY_MS = 1500;

const STATES = {
  ready: "Ready",
  degraded: "Ready, but the last check failed",
  failing: "Failing",
  warming: "Warming up",
  loading: "Loading the model",
  draining: "Shutting down",
};

export function watchStatus(status, detail, banners) {
  let timer = 0;

  async function poll(method) {
    clearTimeout(timer);
    let answer = null;
    try {
      const response = await fetch("warmup", { method, cache: "no-store" });
      answer = await response.json();
    } catch {
      // There is no answer, or it does not come from the service.
    }
    if (answer?.state) show(answer);
    else showUnreachable();
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(poll, answer?.state === "ready" ? POLL_MS : POLL_UNTIL_READY_MS, "GET");
  }

  function show(answer) {
    const parts = [STATES[answer.state] ?? answer.state, answer.engine, answer.device, answer.precision];
    setText(status, parts.filter(Boolean).join(" · "));
    status.dataset.state = answer.state;
    setText(detail, answer.status === "pending" ? sentence(answer.reason) : "");
    showBanners(warnings(answer));
  }

  function showUnreachable() {
    setText(status, "The service does not answer");
    status.dataset.state = "unreachable";
    setText(detail, "");
  }

  function showBanners(found) {
    const titles = JSON.stringify(found.map(({ title }) => title));
    if (banners.dataset.titles !== titles) {
      banners.dataset.titles = titles;
      banners.replaceChildren(...found.map(banner));
    }
    // The text may change with every poll ("tried again in 7 s"). It is shown, but not read out each time.
    found.forEach(({ text }, index) => setText(banners.children[index].lastChild, text));
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) poll("GET");
  });
  poll("GET");
  // Opening the page warms the service. The answer may take as long as the model takes to load, so do not wait for it.
  fetch("warmup", { method: "POST" }).then(() => poll("GET"), () => {});
}

function banner({ title, text, bad }) {
  const paragraph = document.createElement("p");
  const heading = document.createElement("strong");
  const body = document.createElement("span");
  paragraph.className = bad ? "banner bad" : "banner";
  body.setAttribute("aria-live", "off");
  heading.textContent = title;
  body.textContent = text;
  paragraph.append(heading, body);
  return paragraph;
}

function warnings(answer) {
  const found = [];
  if (answer.fallback) {
    found.push({
      title: "A simpler engine is in use instead of InSPyReNet.",
      text: `${sentence(answer.fallback_reason)} The ${answer.engine} engine is a smaller network: fine details `
        + "such as hair or spokes may be lost.",
    });
  }
  if (answer.weights === "dummy") {
    found.push({
      title: "Dummy weights are loaded.",
      text: "The results are meaningless. This service is set up for tests only.",
    });
  }
  if (answer.status === "error") {
    found.push({ title: "The last check of the service failed.", text: sentence(answer.message), bad: true });
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
