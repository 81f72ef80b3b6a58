"use strict";

const table = document.querySelector("table");
if (table) tell();

function tell() {
  const outlines = JSON.parse(document.getElementById("outlines").textContent);
  const tools = document.querySelector(".tools");
  const tasks = Array.from(table.tBodies, (body) => ({
    body,
    number: Number(body.dataset.order),
    status: body.dataset.status,
    ending: ["succeeded", "unsaved", "failed", "open"].indexOf(body.dataset.status),
    name: body.querySelector("bdi").textContent,
    text: body.textContent.toLowerCase(),
    button: body.querySelector("button"),
    duration: body.dataset.duration,
    delay: body.dataset.delay,
  }));
  const byNumber = new Map(tasks.map((task) => [task.number, task]));
  let shown = { key: "order", falling: false };

  // Sorting

  const names = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const keys = {
    order: (one, other) => one.number - other.number,
    name: (one, other) => names.compare(one.name, other.name),
    status: (one, other) => one.ending - other.ending,
    duration: (one, other) => one.duration - other.duration,
    delay: (one, other) => one.delay - other.delay,
  };

  function sort(key, falling) {
    shown = { key, falling };
    // What is not known stands last, whichever way the rest goes.
    const isUnknown = (task) => Number(task[key] === "");
    const sign = falling ? -1 : 1;
    const sorted = [...tasks].sort(
      (one, other) =>
        isUnknown(one) - isUnknown(other) ||
        sign * keys[key](one, other) ||
        one.number - other.number,
    );
    table.append(...sorted.map((task) => task.body));
    tools.elements.sort.value = key;
    for (const head of table.tHead.querySelectorAll("[data-key]")) {
      const order = falling ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.key === key ? order : "none");
    }
  }

  table.tHead.addEventListener("click", ({ target }) => {
    const key = target.closest("button")?.closest("th").dataset.key;
    if (key) sort(key, key === shown.key && !shown.falling);
  });
  tools.elements.sort.addEventListener("change", () => sort(tools.elements.sort.value, false));

  // Filtering

  function filter() {
    const words = tools.elements.text.value.toLowerCase().split(/\s+/);
    const ending = tools.elements.ending.value;
    let count = 0;
    for (const task of tasks) {
      const fits = !ending || task.status === ending;
      task.body.hidden = !(fits && words.every((word) => task.text.includes(word)));
      if (task.body.hidden) pause(task.body);
      else count += 1;
    }
    const all = tasks.length;
    tools.querySelector("output").textContent =
      count === all ? `${all} ${all === 1 ? "task" : "tasks"}` : `${count} of ${all} tasks`;
    document.getElementById("nothing").hidden = count > 0;
  }

  tools.addEventListener("input", ({ target }) => {
    if (target.name !== "sort") filter();
  });
  tools.addEventListener("submit", (event) => event.preventDefault());

  // Opening. The players are made then, and not before: there may be thousands.

  function open(task, isOpen) {
    const more = task.body.querySelector(".more");
    task.button.setAttribute("aria-expanded", String(isOpen));
    more.classList.toggle("shown", isOpen);
    if (!isOpen) pause(more);
    else if (!more.querySelector("audio")) equip(more, outlines[task.number - 1]);
  }

  for (const task of tasks) {
    task.body.querySelector(".task").addEventListener("click", () => {
      // Whoever selects the text of a row does not want it opened.
      if (!String(getSelection())) open(task, task.button.getAttribute("aria-expanded") !== "true");
    });
  }

  for (const chart of document.querySelectorAll(".chart")) {
    chart.addEventListener("click", ({ target }) => {
      const task = byNumber.get(Number(target.closest("[data-task]")?.dataset.task));
      if (!task) return;
      if (task.body.hidden) {
        tools.reset();
        filter();
      }
      sort(shown.key, shown.falling);
      open(task, true);
      const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      task.body.scrollIntoView({ behavior: isCalm ? "auto" : "smooth" });
      task.button.focus({ preventScroll: true });
    });
  }

  // A browser may bring back what was typed before.
  filter();
}

// Players

function equip(more, outlines) {
  const items = more.querySelectorAll(".stems li");
  const loudest = Math.max(1, ...outlines.filter(Boolean).flatMap(([levels]) => [...bytes(levels)]));
  items.forEach((item, index) => equipOne(item, outlines[index], loudest));
}

function equipOne(item, outline, loudest) {
  const link = item.querySelector("a");
  const audio = document.createElement("audio");
  audio.controls = true;
  audio.preload = "none";
  audio.setAttribute("aria-label", link.textContent);
  audio.src = link.href;
  audio.addEventListener("error", () => tellOf(item, "It cannot be played: is the file in its place?"));
  if (outline) {
    item.querySelector(".stem").append(lengthOf(outline[1]));
    item.append(waveform(audio, outline, loudest));
  } else {
    tellOf(item, "no waveform");
  }
  item.append(audio);
}

function lengthOf(seconds) {
  const length = document.createElement("small");
  const whole = Math.round(seconds);
  length.textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  return length;
}

function tellOf(item, words) {
  const note = item.querySelector(".note") ?? document.createElement("p");
  note.className = "note";
  note.textContent = words;
  item.querySelector(".stem").after(note);
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function waveform(audio, [levels, length], loudest) {
  const wave = document.createElement("div");
  wave.className = "wave";
  // The player beside it does the same, and can be used with keys.
  wave.setAttribute("aria-hidden", "true");
  const shape = outlineOf(bytes(levels), loudest);
  const played = picture(shape);
  played.classList.add("played");
  wave.append(picture(shape), played);

  const seconds = () => (Number.isFinite(audio.duration) ? audio.duration : length);
  const paint = () => {
    const share = Math.min(1, audio.currentTime / seconds()) || 0;
    played.style.clipPath = `inset(0 ${100 - 100 * share}% 0 0)`;
  };
  const follow = () => {
    paint();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  wave.addEventListener("click", (event) => {
    const box = wave.getBoundingClientRect();
    audio.currentTime = (seconds() * (event.clientX - box.left)) / box.width;
    paint();
  });
  audio.addEventListener("play", follow);
  for (const name of ["seeking", "timeupdate", "ended"]) audio.addEventListener(name, paint);
  paint();
  return wave;
}

function outlineOf(levels, loudest) {
  // Quiet parts are drawn larger than they are: they are heard, so they should be seen.
  const heights = Array.from(levels, (level) => Math.max(0.5, 19 * Math.pow(level / loudest, 0.7)));
  const lines = heights.map(
    (height, index) => `M${index + 0.5} ${(20 - height).toFixed(1)}v${(2 * height).toFixed(1)}`,
  );
  return { d: lines.join(""), width: levels.length };
}

function picture({ d, width }) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} 40`);
  svg.setAttribute("preserveAspectRatio", "none");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", d);
  svg.append(path);
  return svg;
}

function pause(within) {
  for (const audio of within.querySelectorAll("audio")) audio.pause();
}

// One at a time
document.addEventListener(
  "play",
  ({ target }) => {
    for (const audio of document.querySelectorAll("audio")) if (audio !== target) audio.pause();
  },
  true,
);
