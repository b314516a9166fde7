"use strict";
// The page says everything without this script; here it becomes quicker to read. Texts are set as text, never as HTML.
(() => {
  const { edges, layers } = JSON.parse(document.getElementById("data").textContent);
  const plot = document.getElementById("plot");
  if (!plot) return;
  const table = document.getElementById("table");
  const detail = document.getElementById("detail");
  const readout = document.getElementById("readout");
  const cursor = document.getElementById("cursor");
  const rows = [...table.tBodies[0].rows];
  const rowOf = new Map(rows.map((row) => [Number(row.dataset.index), row]));
  const marks = [...plot.querySelectorAll(".mark")].sort((a, b) => a.dataset.index - b.dataset.index);
  const told = readout.textContent;
  let chosen = 0;

  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, attributes, ...children) => {
    const drawn = ["svg", "rect", "line", "title"].includes(name);
    const element = drawn ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  };
  const words = (verdict) => verdict.replace("-", " ");

  // Bars have the height of the square root of their count: one element among thousands must be seen.
  const histogram = (counts) => {
    const most = Math.sqrt(Math.max(...counts, 1));
    const width = 160 / counts.length;
    const bound = edges.indexOf(0) + 1;
    const bars = counts.map((count, bin) => {
      if (!count) return null;
      const height = Math.max(30 * Math.sqrt(count) / most, 1.5);
      const place = { x: bin * width + 0.7, width: width - 1.4, y: 33 - height, height };
      const reach = bin === 0 ? `at most 1e${edges[0]}` : bin > edges.length - 1 ? `above 1e${edges[bin - 1]}` : `up to 10^${edges[bin]}`;
      return make("rect", { ...place, class: bin >= bound ? "bar over" : "bar" }, make("title", {}, `${count} with error / bound ${reach}`));
    });
    const line = make("line", { class: "bound", x1: bound * width, x2: bound * width, y1: 0, y2: 38 });
    const base = make("line", { class: "base", x1: 0, x2: 160, y1: 33, y2: 33 });
    const label = `${counts.reduce((a, b) => a + b)} elements by error / bound`;
    return make("svg", { viewBox: "0 0 160 40", preserveAspectRatio: "none", role: "img", "aria-label": label }, base, ...bars, line);
  };

  const show = (index) => {
    const layer = layers[index];
    const checks = layer.checks.map((check) =>
      make("li", { class: check.verdict },
        make("div", { class: "top" }, make("span", {}, check.name), make("span", { class: "share" }, check.share || words(check.verdict))),
        check.histogram ? histogram(check.histogram) : null,
        make("small", {}, check.figures),
        check.note ? make("small", {}, check.note) : null));
    detail.replaceChildren(
      make("h3", {}, `${layer.name} `, make("span", { class: `badge ${layer.verdict}` }, `${layer.kind}, ${words(layer.verdict)}`)),
      layer.diagnosis ? make("p", {}, layer.diagnosis) : "",
      make("ul", { class: "checks" }, ...checks),
      ...layer.notes.map((note) => make("p", {}, make("small", {}, note))));
  };

  const point = (index) => {
    const layer = layers[index];
    cursor.setAttribute("x1", marks[index].dataset.x);
    cursor.setAttribute("x2", marks[index].dataset.x);
    cursor.classList.add("on");
    readout.textContent = `${layer.name}: ${words(layer.verdict)}, ${layer.closest}`;
  };

  const choose = (index) => {
    for (const element of [marks[chosen], rowOf.get(chosen)]) element.classList.remove("chosen");
    chosen = index;
    for (const element of [marks[chosen], rowOf.get(chosen)]) element.classList.add("chosen");
    const layer = layers[index];
    plot.setAttribute("aria-valuenow", index + 1);
    plot.setAttribute("aria-valuetext", `${layer.name}, ${words(layer.verdict)}, ${layer.closest}`);
    point(index);
    show(index);
  };

  // Layers that the filter leaves.
  const open = () => layers.map((_, index) => index).filter((index) => !rowOf.get(index).hidden);

  const nearest = (event) => {
    const box = plot.firstElementChild.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * plot.firstElementChild.viewBox.baseVal.width;
    const distance = (index) => Math.abs(marks[index].dataset.x - x);
    return open().reduce((best, index) => (best === null || distance(index) < distance(best) ? index : best), null);
  };

  const keys = {
    ArrowRight: (all, at) => all.find((index) => index > at),
    ArrowUp: (all, at) => all.find((index) => index > at),
    ArrowLeft: (all, at) => all.findLast((index) => index < at),
    ArrowDown: (all, at) => all.findLast((index) => index < at),
    PageDown: (all, at) => all.find((index) => index > at && layers[index].verdict !== "ok"),
    PageUp: (all, at) => all.findLast((index) => index < at && layers[index].verdict !== "ok"),
    Home: (all) => all[0],
    End: (all) => all.at(-1),
  };

  const watchPlot = () => {
    for (const [key, value] of Object.entries({ tabindex: 0, role: "slider", "aria-valuemin": 1, "aria-valuemax": layers.length,
      "aria-label": "Layers in the order of the network; page keys go to those that are not ok" })) plot.setAttribute(key, value);
    plot.addEventListener("pointermove", (event) => { const at = nearest(event); if (at !== null) point(at); });
    plot.addEventListener("pointerleave", () => point(chosen));
    plot.addEventListener("click", (event) => {
      event.preventDefault();
      const at = nearest(event);
      if (at !== null) choose(at);
    });
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Enter") rowOf.get(chosen).querySelector("a").focus();
      const next = keys[event.key]?.(open(), chosen);
      if (next !== undefined) choose(next);
      if (event.key in keys) event.preventDefault();
    });
    for (const mark of marks) mark.querySelector("title").remove();
  };

  const watchTable = () => {
    table.tBodies[0].addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) choose(Number(row.dataset.index));
      if (event.target.closest("a")) {
        event.preventDefault();
        plot.scrollIntoView({ block: "nearest" });
      }
    });
    const ranks = { failed: 0, "not-run": 1, ok: 2 };
    const cell = (place) => (row) => row.cells[place].textContent.trim();
    const number = (name) => (row) => Number(row.dataset[name]);
    const values = { index: number("index"), name: (row) => layers[row.dataset.index].name, kind: cell(2),
      verdict: (row) => ranks[row.className.split(" ")[0]], check: cell(4), error: number("error"), bound: number("bound"), share: number("share") };
    const heads = [...table.tHead.rows[0].cells];
    for (const head of heads) {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("number") && head.dataset.by !== "index" ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const way = head.getAttribute("aria-sort") === first ? other : first;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", way);
        const value = values[head.dataset.by];
        const order = (a, b) => typeof value(a) === "number" ? value(a) - value(b) : value(a).localeCompare(value(b), "en", { numeric: true });
        const sign = way === "ascending" ? 1 : -1;
        table.tBodies[0].append(...rows.sort((a, b) => sign * order(a, b) || a.dataset.index - b.dataset.index));
      });
    }
  };

  const watchFilter = () => {
    const form = document.getElementById("filter");
    const [name, verdict, kind, shown] = ["name", "verdict", "kind", "shown"].map((id) => document.getElementById(id));
    const apply = () => {
      const wanted = name.value.trim().toLowerCase().split(/\s+/);
      let count = 0;
      layers.forEach((layer, index) => {
        const fits = wanted.every((word) => layer.name.toLowerCase().includes(word)) &&
          (!verdict.value || layer.verdict === verdict.value) && (!kind.value || layer.kind === kind.value);
        rowOf.get(index).hidden = !fits;
        marks[index].classList.toggle("away", !fits);
        count += fits;
      });
      shown.textContent = `${count} of ${layers.length}`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  };

  watchPlot();
  watchTable();
  watchFilter();
  detail.hidden = false;
  choose(Math.max(layers.findIndex((layer) => layer.verdict === "failed"), 0));
  if (layers.every((layer) => layer.verdict === "ok")) { readout.textContent = told; cursor.classList.remove("on"); }
})();
