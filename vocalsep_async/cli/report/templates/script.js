// The table: sorting, filtering, and opening rows.

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
    player: null,
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
      if (task.body.hidden) task.player?.pause();
      else count += 1;
    }
    const all = tasks.length;
    const noun = table.dataset.noun;
    tools.querySelector("output").textContent =
      count === all ? `${all} ${all === 1 ? noun : `${noun}s`}` : `${count} of ${all} ${noun}s`;
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
    if (!isOpen) task.player?.pause();
    const stems = more.querySelector(".stems");
    if (isOpen && stems) task.player ??= new Player(stems, task.name, waveforms[task.number - 1]);
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

  // A page that opens with a player shows what it is for.
  const first = tasks.find((task) => !task.body.hidden && task.body.querySelector(".stems"));
  if (first) open(first, true);
}
