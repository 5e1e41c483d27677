// The playground. What is found and drawn comes from the backend; here it is shown.

const root = document.body.dataset.root;
const token = document.querySelector("meta[name=page-token]").content;
const MOST_TRIES = 60;
const TRY_AGAIN_MS = 2000;
const $ = (id) => document.getElementById(id);

class Refusal extends Error {
  constructor(status, message, kind) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

/** POST JSON, or a file, to a route of the page; returns the JSON of the answer. */
async function post(route, body) {
  const isFile = body instanceof Blob;
  let answer;
  try {
    answer = await fetch(`${root}page/${route}`, {
      method: "POST",
      headers: {
        "X-Page-Token": token,
        "Content-Type": isFile ? "application/octet-stream" : "application/json",
      },
      body: isFile ? body : JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, "The backend does not answer. Is it still running?");
  }
  const told = await answer.json().catch(() => null);
  if (!answer.ok) {
    const message = told?.error?.message ?? `The backend answered ${answer.status}.`;
    throw new Refusal(answer.status, message, told?.error?.type);
  }
  return told;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

if ($("playground")) {
  startPlayground();
}

function startPlayground() {
  const sliders = { threshold: $("threshold"), presence_threshold: $("presence") };
  // What was moved by hand; the rest is as the label config, or the backend, says.
  let moved = {};
  let picture = null;
  let reopen = null;
  let shown = null; // the answer that is on the screen
  let base = null; // the answer that clicks start from
  let clicks = { points: [], box: null };
  let chosen = null; // { control, label }
  const cross = { x: 50, y: 50, corner: null };

  function say(text) {
    $("status").textContent = text;
  }

  /** Run something that may be refused, and say why it was. */
  async function attempt(work) {
    $("error").hidden = true;
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say("");
      $("error").textContent = error.message;
      $("error").hidden = false;
      return null;
    }
  }

  // Pictures

  async function open(from) {
    say("Reading the picture …");
    const told = await attempt(from);
    if (!told) return;
    reopen = from;
    picture = told.picture;
    if (told.label_config) $("labels").value = told.label_config;
    $("stage").style.setProperty("--ratio", told.width / told.height);
    $("picture").src = `${root}page/pictures/${picture}`;
    $("masks").replaceChildren();
    $("view").hidden = false;
    moved = {};
    await draw();
  }

  const upload = (file) => open(() => post("pictures", file));

  $("file").addEventListener("change", (event) => {
    if (event.target.files.length) upload(event.target.files[0]);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) {
        upload(event.dataTransfer.files[0]);
      }
    });
  }
  function onAction(button, fields, action) {
    button?.addEventListener("click", action);
    for (const field of fields) {
      field?.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        action();
      });
    }
  }
  onAction($("open-address"), [$("address")], () => {
    const address = $("address").value;
    open(() => post("addresses", { address }));
  });
  onAction($("open-task"), [$("project"), $("task")], () => {
    const [project, task] = [$("project").valueAsNumber, $("task").valueAsNumber];
    open(() => post("tasks", { project, task }));
  });

  // Masks

  let isDrawing = false;
  let isWantedAgain = false;

  /** Draw, once at a time; of what is wanted meanwhile the last counts. */
  async function draw() {
    isWantedAgain = true;
    if (isDrawing || picture === null) return;
    isDrawing = true;
    try {
      while (isWantedAgain) {
        isWantedAgain = false;
        await attempt(drawOnce);
      }
    } finally {
      isDrawing = false;
    }
  }

  async function drawOnce() {
    const text = $("labels").value;
    const isConfig = text.trimStart().startsWith("<");
    const asked = { ...moved, [isConfig ? "label_config" : "labels"]: text };
    if (!shown) say("Looking for the labels …");
    const started = performance.now();
    const answer = await patiently(async () => {
      try {
        return await post("masks", { ...asked, picture });
      } catch (error) {
        if (error.status !== 410) throw error;
        picture = (await reopen()).picture;
        return post("masks", { ...asked, picture });
      }
    });
    base = answer;
    clicks = { points: [], box: null };
    show(answer);
    showCut(answer);
    const took = Math.round(performance.now() - started);
    const how = answer.passes ? "with a pass of the model" : "from kept maps";
    say(`${summary(answer)} ${took} ms, ${how}.`);
  }

  /** Try again while the model is being loaded, or is busy. */
  async function patiently(work) {
    for (let left = MOST_TRIES; ; left -= 1) {
      try {
        return await work();
      } catch (error) {
        if (error.kind !== "ServiceUnavailable" || !left) throw error;
        say("The model is still loading, or busy …");
        await new Promise((done) => setTimeout(done, TRY_AGAIN_MS));
      }
    }
  }

  function labelsOf(answer) {
    return answer.controls.flatMap((control) =>
      control.labels.map((label) => ({ control, label })),
    );
  }

  function summary(answer) {
    const labels = labelsOf(answer);
    const painted = labels.filter(({ label }) => label.mask);
    return `${painted.length} of ${labels.length} labels painted.`;
  }

  function show(answer) {
    shown = answer;
    const labels = labelsOf(answer);
    $("masks").replaceChildren(
      ...labels
        .filter(({ label }) => label.mask)
        .map(({ control, label }) => {
          const mask = element("img", { src: label.mask, alt: "" });
          mask.dataset.of = keyOf(control, label);
          return mask;
        }),
    );
    const known = labels.some((one) => isChosen(one.control, one.label));
    if (!known) chosen = null;
    $("found").replaceChildren(...labels.map(row));
    $("results").hidden = false;
    showMarks();
  }

  const keyOf = (control, label) => JSON.stringify([control.name, label.name]);
  const isChosen = (control, label) =>
    chosen !== null && keyOf(control, label) === chosen.key;

  const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

  function row({ control, label }) {
    const swatch = element("canvas", { className: "swatch", width: 1, height: 1 });
    const paint = swatch.getContext("2d");
    paint.fillStyle = label.colour;
    paint.fillRect(0, 0, 1, 1);
    const button = element("button", { type: "button" }, swatch, label.name);
    button.setAttribute("aria-pressed", isChosen(control, label));
    button.addEventListener("click", () => choose(control, label));
    for (const kind of ["mouseenter", "focus"]) {
      button.addEventListener(kind, () => showMap(label));
    }
    for (const kind of ["mouseleave", "blur"]) {
      button.addEventListener(kind, hideMap);
    }
    const eye = element("input", { type: "checkbox", checked: true });
    eye.disabled = !label.mask;
    eye.setAttribute("aria-label", `Show the mask of ${label.name}`);
    eye.addEventListener("change", () => {
      for (const mask of $("masks").children) {
        if (mask.dataset.of === keyOf(control, label)) mask.hidden = !eye.checked;
      }
    });
    const cells = [
      element("th", { scope: "row" }, button),
      element("td", {}, gauge(label.presence, label.presence_threshold, "Presence", label)),
      element("td", {}, gauge(label.peak, label.threshold, "Best spot", label)),
      element("td", {}, label.score === null ? "–" : label.score.toFixed(2)),
      element("td", {}, label.mask ? percent(label.share) : whyNot(label)),
      element("td", {}, eye),
    ];
    return element("tr", { className: label.mask ? "" : "left-out" }, ...cells);
  }

  function gauge(value, threshold, what, label) {
    const meter = element("meter", { min: 0, max: 1, value });
    meter.setAttribute("aria-label", `${what} of ${label.name}`);
    meter.title = `needs ${threshold.toFixed(2)}`;
    return element("span", { className: "gauge" }, meter, value.toFixed(2));
  }

  function whyNot(label) {
    if (label.presence < label.presence_threshold) {
      return `not in the picture (needs ${label.presence_threshold.toFixed(2)})`;
    }
    return label.peak <= label.threshold ? "too faint" : "others are better";
  }

  function showMap(label) {
    $("map").src = `${root}page/scenes/${shown.scene}/${label.map}.png`;
    $("map").hidden = false;
    $("masks").hidden = true;
  }

  function hideMap() {
    $("map").hidden = true;
    $("masks").hidden = false;
  }

  // Thresholds

  function showCut(answer) {
    const control = answer.controls[0];
    $("cuts").disabled = false;
    for (const [name, slider] of Object.entries(sliders)) {
      if (!(name in moved)) slider.value = control[name];
      $(`${slider.id}-is`).textContent = Number(moved[name] ?? control[name]).toFixed(2);
    }
    $("guided").checked = control.boundaries === "guided";
    $("config").value = answer.config;
    $("variables").value = answer.variables;
    $("notes").replaceChildren(
      ...answer.notes.map((note) => element("li", { textContent: note })),
    );
  }

  for (const [name, slider] of Object.entries(sliders)) {
    slider.addEventListener("input", () => {
      moved[name] = slider.valueAsNumber;
      $(`${slider.id}-is`).textContent = slider.valueAsNumber.toFixed(2);
      draw();
    });
  }
  $("guided").addEventListener("change", () => {
    moved.boundaries = $("guided").checked ? "guided" : "off";
    draw();
  });
  $("reset").addEventListener("click", () => {
    moved = {};
    draw();
  });
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if (picture === null) say("Choose a picture first.");
    moved = {};
    draw();
  });

  // Clicks

  function choose(control, label) {
    const key = keyOf(control, label);
    if (chosen?.key !== key) nextObject();
    chosen = { key, control: control.name, label: label.name };
    for (const line of $("found").rows) {
      const button = line.querySelector("button");
      button.setAttribute("aria-pressed", button.textContent === label.name);
    }
    say(`Clicks on the picture now mend ${label.name}.`);
  }

  function nextObject() {
    base = shown;
    clicks = { points: [], box: null };
    showMarks();
  }

  async function mend(change) {
    const labels = labelsOf(shown);
    if (!chosen && labels.length === 1) choose(labels[0].control, labels[0].label);
    if (!chosen) {
      say("Choose a label below first: press its name.");
      return;
    }
    const wanted = { ...clicks, ...change };
    const { control, label } = chosen;
    const asked = { scene: base.scene, control, label, ...wanted };
    const answer = await attempt(() => post("clicks", asked));
    if (!answer) return;
    clicks = wanted;
    show(answer);
    const took = Math.round(1000 * answer.seconds);
    say(answer.changed ? `${label} is redrawn. ${took} ms.` : "That changed nothing.");
  }

  function undo() {
    const { points, box } = clicks;
    const left = points.length
      ? { points: points.slice(0, -1), box }
      : { points: [], box: null };
    if (left.points.length || left.box) {
      clicks = left;
      mend({});
      return;
    }
    clicks = left;
    show(base);
    say("The clicks are taken back.");
  }

  const addPoint = (place, isPositive) =>
    mend({ points: [...clicks.points, { ...place, is_positive: isPositive }] });

  function addBox(one, other) {
    const [x, y] = [Math.min(one.x, other.x), Math.min(one.y, other.y)];
    const [width, height] = [Math.abs(one.x - other.x), Math.abs(one.y - other.y)];
    if (width > 0.5 && height > 0.5) mend({ box: { x, y, width, height } });
  }

  function placed(node, { x, y, width, height }) {
    node.style.left = `${x}%`;
    node.style.top = `${y}%`;
    if (width !== undefined) {
      node.style.width = `${width}%`;
      node.style.height = `${height}%`;
    }
    return node;
  }

  function showMarks() {
    const marks = clicks.points.map((point) => {
      const kind = point.is_positive ? "mark" : "mark negative";
      return placed(element("span", { className: kind }), point);
    });
    if (clicks.box) marks.push(placed(element("span", { className: "box" }), clicks.box));
    if (document.activeElement === $("stage") && !isMouse) {
      marks.push(placed(element("span", { className: "cross" }), cross));
      if (cross.corner) {
        const corner = element("span", { className: "cross" });
        marks.push(placed(corner, cross.corner));
      }
    }
    $("marks").replaceChildren(...marks);
    const hasAny = clicks.points.length > 0 || clicks.box !== null;
    $("undo").disabled = !hasAny;
    $("next").disabled = !hasAny;
  }

  let pressed = null;
  let isMouse = false;
  const clamp = (value) => Math.min(100, Math.max(0, value));

  function placeOf(event) {
    const area = $("picture").getBoundingClientRect();
    return {
      x: clamp((100 * (event.clientX - area.left)) / area.width),
      y: clamp((100 * (event.clientY - area.top)) / area.height),
    };
  }

  $("stage").addEventListener("pointerdown", (event) => {
    isMouse = true;
    pressed = placeOf(event);
    $("stage").setPointerCapture(event.pointerId);
  });
  $("stage").addEventListener("pointerup", (event) => {
    if (!pressed || !shown) return;
    const place = placeOf(event);
    const isDrag = Math.hypot(place.x - pressed.x, place.y - pressed.y) > 2;
    const isNegative = event.altKey || event.button === 2;
    if (isDrag) addBox(pressed, place);
    else addPoint(place, !isNegative);
    pressed = null;
  });
  $("stage").addEventListener("pointercancel", () => (pressed = null));
  $("stage").addEventListener("contextmenu", (event) => event.preventDefault());
  $("stage").addEventListener("focus", showMarks);
  $("stage").addEventListener("blur", showMarks);
  $("stage").addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    };
    const here = { x: cross.x, y: cross.y };
    if (event.key in moves) {
      cross.x = clamp(cross.x + moves[event.key][0]);
      cross.y = clamp(cross.y + moves[event.key][1]);
    } else if (event.key === "Enter") addPoint(here, true);
    else if (event.key === "Delete" || event.key === "Backspace") addPoint(here, false);
    else if (event.key.toLowerCase() === "b") {
      if (cross.corner) addBox(cross.corner, here);
      cross.corner = cross.corner ? null : here;
    } else return;
    event.preventDefault();
    isMouse = false;
    showMarks();
  });
  $("undo").addEventListener("click", undo);
  $("next").addEventListener("click", () => {
    nextObject();
    say("The next click is on another object.");
  });

  // To take away

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const field = $(button.dataset.of);
      field.select();
      try {
        await navigator.clipboard.writeText(field.value);
        say("Copied.");
      } catch {
        say("Selected: press Ctrl-C to copy.");
      }
    });
  }

  $("save").addEventListener("click", async () => {
    const { naturalWidth: width, naturalHeight: height } = $("picture");
    const canvas = element("canvas", { width, height });
    const paint = canvas.getContext("2d");
    paint.drawImage($("picture"), 0, 0);
    paint.globalAlpha = 0.6;
    for (const mask of $("masks").children) {
      if (!mask.hidden) paint.drawImage(mask, 0, 0);
    }
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    const link = element("a", { href: URL.createObjectURL(blob), download: "masks.png" });
    link.click();
    URL.revokeObjectURL(link.href);
    say("Saved as masks.png.");
  });
}

if ($("doctor")) {
  $("examine").addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.submitter;
    $("error").hidden = true;
    $("status").textContent = "Looking … this takes some seconds.";
    button.disabled = true;
    try {
      const project = $("examined").value ? $("examined").valueAsNumber : null;
      const { findings } = await post("doctor", { project });
      $("findings").replaceChildren(...findings.map(finding));
      const wrong = findings.filter((one) => ["warning", "problem"].includes(one.level));
      $("status").textContent = wrong.length
        ? `${wrong.length} of ${findings.length} findings ask for something.`
        : "Nothing is wrong.";
    } catch (error) {
      $("status").textContent = "";
      $("error").textContent = error.message;
      $("error").hidden = false;
    }
    button.disabled = false;
    button.focus();
  });
}

function finding({ level, subject, seen, remedy, details }) {
  const lines = [...(remedy ? [`→ ${remedy}`] : []), ...details];
  return element(
    "li",
    { className: level },
    element("b", { textContent: `${level}: ${subject}` }),
    ` ${seen}`,
    ...lines.map((line) => element("div", { textContent: line })),
  );
}

// A run that goes on is looked at again every few seconds.
const EVERY_MS = 5000;
if (document.querySelector("#run[data-live]")) {
  const timer = setInterval(async () => {
    const answer = await fetch(location.href).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const run = page.getElementById("run");
    if (!run) return;
    document.getElementById("run").replaceWith(run);
    if (!("live" in run.dataset)) clearInterval(timer);
  }, EVERY_MS);
}
