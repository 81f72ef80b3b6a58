"use strict";

const table = document.querySelector("table");
if (table) initialize();

function initialize() {
  const waveforms = JSON.parse(document.getElementById("waveforms").textContent);
  const tools = document.querySelector(".tools");
  const tasks = Array.from(table.tBodies, (body) => ({
    body,
    number: Number(body.dataset.order),
    status: body.dataset.status,
    rank: ["succeeded", "unsaved", "failed", "open"].indexOf(body.dataset.status),
    name: body.querySelector("bdi").textContent,
    text: body.textContent.toLowerCase(),
    button: body.querySelector("button"),
    duration: body.dataset.duration,
    delay: body.dataset.delay,
  }));
  const byNumber = new Map(tasks.map((task) => [task.number, task]));
  let order = { key: "order", isDescending: false };

  // Sorting

  const names = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const keys = {
    order: (one, other) => one.number - other.number,
    name: (one, other) => names.compare(one.name, other.name),
    status: (one, other) => one.rank - other.rank,
    duration: (one, other) => one.duration - other.duration,
    delay: (one, other) => one.delay - other.delay,
  };

  function sort(key, isDescending) {
    order = { key, isDescending };
    // Unknown values come last in both directions.
    const isUnknown = (task) => Number(task[key] === "");
    const sign = isDescending ? -1 : 1;
    const sorted = [...tasks].sort(
      (one, other) =>
        isUnknown(one) - isUnknown(other) ||
        sign * keys[key](one, other) ||
        one.number - other.number,
    );
    table.append(...sorted.map((task) => task.body));
    tools.elements.sort.value = key;
    for (const head of table.tHead.querySelectorAll("[data-key]")) {
      const direction = isDescending ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.key === key ? direction : "none");
    }
  }

  table.tHead.addEventListener("click", ({ target }) => {
    const key = target.closest("button")?.closest("th").dataset.key;
    if (key) sort(key, key === order.key && !order.isDescending);
  });
  tools.elements.sort.addEventListener("change", () => sort(tools.elements.sort.value, false));

  // Filtering

  function filter() {
    const words = tools.elements.text.value.toLowerCase().split(/\s+/);
    const status = tools.elements.status.value;
    let count = 0;
    for (const task of tasks) {
      const hasStatus = !status || task.status === status;
      task.body.hidden = !(hasStatus && words.every((word) => task.text.includes(word)));
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

  // Opening. Players are created only then: there may be thousands.

  function open(task, isOpen) {
    const more = task.body.querySelector(".more");
    task.button.setAttribute("aria-expanded", String(isOpen));
    more.classList.toggle("shown", isOpen);
    if (!isOpen) pause(more);
    else if (!more.querySelector("audio")) addPlayers(more, waveforms[task.number - 1]);
  }

  for (const task of tasks) {
    task.body.querySelector(".task").addEventListener("click", () => {
      // Selecting the text of a row does not open it.
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
      sort(order.key, order.isDescending);
      open(task, true);
      const reducesMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
      task.body.scrollIntoView({ behavior: reducesMotion ? "auto" : "smooth" });
      task.button.focus({ preventScroll: true });
    });
  }

  // Browsers may restore the text of the search field.
  filter();
}

// Players

function addPlayers(more, waveforms) {
  const items = more.querySelectorAll(".stems li");
  const loudest = Math.max(1, ...waveforms.filter(Boolean).flatMap(([levels]) => [...bytes(levels)]));
  items.forEach((item, index) => addPlayer(item, waveforms[index], loudest));
}

function addPlayer(item, waveform, loudest) {
  const link = item.querySelector("a");
  const audio = document.createElement("audio");
  audio.controls = true;
  audio.preload = "none";
  audio.setAttribute("aria-label", link.textContent);
  audio.src = link.href;
  audio.addEventListener("error", () => setNote(item, "The file cannot be played. Was it moved?"));
  if (waveform) {
    item.querySelector(".stem").append(lengthLabel(waveform[1]));
    item.append(seekableWave(audio, waveform, loudest));
  } else {
    setNote(item, "no waveform");
  }
  item.append(audio);
}

function lengthLabel(seconds) {
  const length = document.createElement("small");
  const whole = Math.round(seconds);
  length.textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  return length;
}

function setNote(item, text) {
  const note = item.querySelector(".note") ?? document.createElement("p");
  note.className = "note";
  note.textContent = text;
  item.querySelector(".stem").after(note);
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function seekableWave(audio, [levels, length], loudest) {
  const wave = document.createElement("div");
  wave.className = "wave";
  // Hidden from assistive technology: the player does the same, also with the keyboard.
  wave.setAttribute("aria-hidden", "true");
  const shape = waveShape(bytes(levels), loudest);
  const played = drawWave(shape);
  played.classList.add("played");
  wave.append(drawWave(shape), played);

  const seconds = () => (Number.isFinite(audio.duration) ? audio.duration : length);
  const paint = () => {
    const share = Math.min(1, audio.currentTime / seconds()) || 0;
    played.style.clipPath = `inset(0 ${100 - 100 * share}% 0 0)`;
  };
  const update = () => {
    paint();
    if (!audio.paused) requestAnimationFrame(update);
  };
  wave.addEventListener("click", (event) => {
    const box = wave.getBoundingClientRect();
    audio.currentTime = (seconds() * (event.clientX - box.left)) / box.width;
    paint();
  });
  audio.addEventListener("play", update);
  for (const name of ["seeking", "timeupdate", "ended"]) audio.addEventListener(name, paint);
  paint();
  return wave;
}

function waveShape(levels, loudest) {
  // Quiet parts are drawn larger: the ear hears them, so the eye should see them.
  const heights = Array.from(levels, (level) => Math.max(0.5, 19 * Math.pow(level / loudest, 0.7)));
  const lines = heights.map(
    (height, index) => `M${index + 0.5} ${(20 - height).toFixed(1)}v${(2 * height).toFixed(1)}`,
  );
  return { d: lines.join(""), width: levels.length };
}

function drawWave({ d, width }) {
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

// Only one stem plays at a time.
document.addEventListener(
  "play",
  ({ target }) => {
    for (const audio of document.querySelectorAll("audio")) if (audio !== target) audio.pause();
  },
  true,
);
