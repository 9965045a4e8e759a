// The page: it puts its parts together. It has no dependencies. Every address is relative, so that it works behind a
// path prefix.

import { canvasOf, EXAMPLES, exampleFile } from "./examples.js";
import { ListView } from "./list_view.js";
import { Options } from "./options.js";
import { watchPicking } from "./picking.js";
import { Queue } from "./queue.js";
import { ResultView } from "./result_view.js";
import { canCopy, copy, resultOf, save, saveAll } from "./results.js";
import { ServiceStatus } from "./service_status.js";
import { StatusView } from "./status_view.js";
import { Viewer } from "./viewer.js";
import { warm } from "./warm.js";
import { element, pictures, setText } from "./words.js";

const byId = (id) => document.getElementById(id);

const service = new ServiceStatus();
const queue = new Queue(service, () => options);
const options = new Options(
  byId("options"),
  {
    background: byId("background"),
    colour: byId("colour"),
    colourRow: byId("colour-field"),
    picture: byId("background-picture"),
    pictureRow: byId("picture-field"),
    format: byId("format"),
    hard: byId("hard"),
    threshold: byId("threshold"),
    thresholdRow: byId("threshold-field"),
    thresholdValue: byId("threshold-value"),
    reverse: byId("reverse"),
    key: byId("key"),
  },
  { changed: () => view.update(), refuse: (text) => refuse({ title: text, message: "" }) },
);
const viewer = new Viewer(byId("compare"), byId("slider"), { zoomIn: byId("zoom-in"), zoomOut: byId("zoom-out"), whole: byId("whole") });
const view = new ResultView(
  {
    result: byId("result"),
    frame: byId("compare"),
    before: byId("before"),
    canvas: byId("after"),
    facts: byId("facts"),
    problem: byId("compose-problem"),
  },
  viewer,
  () => options.composition,
);
const list = new ListView(byId("pictures"), queue, service, { choose, removed });
new StatusView(service, {
  lamp: byId("status"),
  start: byId("start"),
  startText: byId("start-text"),
  startBar: byId("start-bar"),
  startTime: byId("start-time"),
  banners: byId("banners"),
});

// ---- pictures in

watchPicking({ field: byId("file"), pick, refuse });

function pick(files) {
  byId("refused").hidden = true;
  const [first] = queue.add(files);
  announce(`${pictures(files.length)} added.`);
  if (!view.picture) show(first);
}

function refuse({ title, message }) {
  setText(byId("refused"), `${title} ${message}`);
  byId("refused").hidden = false;
}

for (const example of EXAMPLES) {
  const button = element("button", { type: "button", className: "example" }, canvasOf(example), example.title);
  button.addEventListener("click", async () => pick([await exampleFile(example)]));
  byId("examples").append(button);
}

// ---- what is shown

let chosenByHand = false;

function choose(picture) {
  chosenByHand = true;
  show(picture);
}

function show(picture) {
  view.show(picture);
  list.mark(picture);
  arrange();
}

function removed(picture, neighbour) {
  if (picture === view.picture) {
    chosenByHand = false;
    show(queue.done[0] ?? queue.pictures[0] ?? null);
  }
  arrange();
  (neighbour ?? byId("file")).focus();
}

function arrange() {
  byId("drop").classList.toggle("low", queue.pictures.length > 0);
  byId("actions").hidden = !queue.done.length;
  byId("download").hidden = !view.picture?.cutOut;
  byId("copy").hidden = !canCopy || !view.picture?.cutOut;
  byId("download-all").hidden = queue.done.length < 2;
}

queue.addEventListener("change", ({ detail: picture }) => {
  const { state, problem, name } = picture;
  if (state === "done") {
    const left = queue.unfinished;
    announce(`${name} is done. ${left ? `${pictures(left)} left.` : "All pictures are finished."}`);
    if (!chosenByHand && !view.picture?.cutOut) show(picture);
    if (picture === view.picture) view.update();
  } else if (problem && told.get(picture) !== problem.title) {
    told.set(picture, problem.title); // once, however often the same happens again
    announce(`${name}: ${problem.title} ${problem.message}`);
    if (problem.then === "key") byId("key-details").open = true;
  }
  arrange();
});

const told = new WeakMap();

// Read out once, in order. What changes by the second must not be written here.
function announce(text) {
  const line = element("span", {}, `${text} `);
  byId("announcements").append(line);
  setTimeout(() => line.remove(), 10_000);
}

// ---- results out

byId("download").addEventListener("click", () => busy(byId("download"), async () => save(await resultOf(view.picture, options.composition, options.format))));
byId("copy").addEventListener("click", () =>
  busy(byId("copy"), async () => {
    await copy(view.picture, options.composition);
    announce("The result was copied.");
  }),
);
byId("download-all").addEventListener("click", () =>
  busy(byId("download-all"), (button) => {
    const { done } = queue;
    return saveAll(done, options.composition, options.format, (number) => setText(button, `Packing ${number} of ${done.length}`));
  }),
);

// While a button works it does nothing, but it keeps the focus.
async function busy(button, work) {
  if (button.ariaDisabled === "true") return;
  const word = button.textContent;
  button.ariaDisabled = "true";
  try {
    await work(button);
  } catch (error) {
    refuse({ title: `“${word}” did not work.`, message: error.message });
  }
  setText(button, word);
  button.ariaDisabled = "false";
}

byId("options").addEventListener("submit", (event) => {
  event.preventDefault();
  for (const picture of queue.pictures) if (picture.state === "failed" && picture.problem.then === "key") queue.retry(picture);
});

// ---- start

document.addEventListener("warmup", ({ detail }) => {
  if (detail.state === "ready") service.ask();
});
service.start();
warm(true);
