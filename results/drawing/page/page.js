"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

// Sorting: by the cells' data-value, missing ones last; the same button again turns the order round.
const number = (cell) => (cell.dataset.value === "" ? null : Number(cell.dataset.value));
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const column = head.cellIndex;
    const table = head.closest("table");
    const first = head.dataset.better === "1" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      if (head.dataset.kind === "text") return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
      const [x, y] = [number(a), number(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x - y);
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column])));
  });
}

// Curves: one SVG a panel, one group a method; the legend's buttons show and hide the groups.
const make = (name, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const MARKS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "M-3.5-3.5h7v7h-7z", "M0-5L4.5 3.5h-9z", "M0-5L5 0L0 5L-5 0z", "M0 5L4.5-3.5h-9z",
  "M-1.5-5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z", "M-4.5-2.5l2-2l2.5 2.5l2.5-2.5l2 2l-2.5 2.5l2.5 2.5l-2 2l-2.5-2.5l-2.5 2.5l-2-2l2.5-2.5z",
  "M0-5.5L1.4-1.8L5.3-1.7L2.2.7L3.3 4.5L0 2.2L-3.3 4.5L-2.2.7L-5.3-1.7L-1.4-1.8z",
];
const DASHES = ["", "7 3", "10 3 2 3", "2 3", "14 4", "8 2 2 2 2 2", "4 2", "18 3 4 3"];
// As in results/drawing/figures.py: each further eight meets the colours with the other marks one on.
const colour = (i) => data.colours[i % 8];
const turn = (i) => (i + Math.floor(i / 8)) % 8;
const look = (i) => ({ stroke: colour(i), "stroke-dasharray": DASHES[turn(i)] });
const mark = (i, x, y) =>
  make("path", { d: MARKS[turn(i)], transform: `translate(${x} ${y})`, fill: colour(i), stroke: "#14181f" });

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [520, 320, 44, 44, 12, 14];
function panel(title, key) {
  const last = Math.max(1, ...data.curves.flatMap((curve) => curve.step));
  const x = (step) => LEFT + ((WIDTH - LEFT - RIGHT) * step) / last;
  const y = (accuracy) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * accuracy;
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: accuracy over steps` });
  for (const v of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
    svg.append(make("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(v), y2: y(v), stroke: v ? "#e3e6ea" : "#4c5461" }));
    svg.append(make("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(1)));
  }
  for (const part of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
    const step = Math.round(part * last);
    svg.append(make("text", { x: x(step), y: HEIGHT - BOTTOM + 18, "text-anchor": part === 1 ? "end" : "middle" }, `${step}`));
  }
  svg.append(make("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "steps"));
  for (const step of data.changes) {
    svg.append(make("line", { x1: x(step), x2: x(step), y1: y(0), y2: y(1), stroke: "#e3e6ea" }));
  }
  data.curves.forEach((curve, i) => {
    const points = curve.step.map((step, k) => [x(step).toFixed(1), y(curve[key][k]).toFixed(1)]);
    const group = make("g", { "data-curve": i });
    group.append(make("title", {}, curve.label));
    group.append(make("polyline", { points: points.join(" "), fill: "none", "stroke-width": 2, ...look(i) }));
    const every = Math.max(1, Math.floor(points.length / 8));
    points.forEach(([px, py], k) => (k + i) % every === 0 && group.append(mark(i, px, py)));
    svg.append(group);
  });
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  figure.append(caption, svg);
  return figure;
}

const curves = document.getElementById("curves");
if (data.curves.length) {
  curves.append(panel("The first task learned", "first"), panel("All tasks, mean", "mean"));
} else {
  curves.textContent = "No record has accuracies over training.";
}
data.curves.forEach((curve, i) => {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "true");
  const sample = make("svg", { width: 34, height: 14, "aria-hidden": "true" });
  sample.append(make("line", { x1: 0, x2: 34, y1: 7, y2: 7, "stroke-width": 2, ...look(i) }), mark(i, 17, 7));
  button.append(sample, curve.label);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    for (const group of document.querySelectorAll(`[data-curve="${i}"]`)) group.style.display = on ? "" : "none";
  });
  document.getElementById("legend").append(button);
});

// Grids: one cell of each grid is in the tab order; arrow keys move among its cells.
const status = document.getElementById("cell");
const tell = (cell) => (status.textContent = cell.title);
for (const grid of document.querySelectorAll(".grid")) {
  const cells = [...grid.querySelectorAll("td")];
  const across = grid.tBodies[0].rows[0].cells.length - 1;
  const STEPS = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across };
  cells.forEach((cell, at) => {
    cell.tabIndex = at ? -1 : 0;
    cell.addEventListener("pointerenter", () => tell(cell));
    cell.addEventListener("focus", () => tell(cell));
    cell.addEventListener("keydown", (event) => {
      const target = cells[at + STEPS[event.key]];
      if (!target) return;
      event.preventDefault();
      cell.tabIndex = -1;
      target.tabIndex = 0;
      target.focus();
    });
  });
}

// Commands: copied to the clipboard; where the browser refuses (a page opened as a file), the text is selected instead.
for (const button of document.querySelectorAll(".command button")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    let said = "copied";
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      said = "selected: press Ctrl+C";
    }
    button.textContent = said;
    document.getElementById("copied").textContent = `Command ${said}`;
    setTimeout(() => (button.textContent = "Copy"), 2500);
  });
}
