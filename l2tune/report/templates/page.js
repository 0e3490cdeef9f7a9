"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const PAPER = {wide: 700, narrow: 508, height: 0.62}; // px on A4, and a share of the height on a screen
  const READABLE = 5.2; // a little above 4.5: texts also lie on shaded grounds

  // colours ------------------------------------------------------------------------------------------------------
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  const channels = color => {
    probe.style.color = "";
    probe.style.color = color;
    return (getComputedStyle(probe).color.match(/[\d.]+/g) || [0, 0, 0]).slice(0, 3).map(Number);
  };
  const luminance = color => color
    .map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const readable = (color, ground, ink) => {
    const [from, to] = [channels(color), channels(ink)];
    for (let share = 0; share < 1; share += 0.1) {
      const mixed = from.map((part, place) => Math.round(part + share * (to[place] - part)));
      if (contrast(mixed, channels(ground)) >= READABLE) return `rgb(${mixed})`;
    }
    return ink;
  };
  const recolor = (part, ground, ink) => {
    for (const [name, value] of Object.entries(part || {})) {
      if (value === null || typeof value !== "object") continue;
      if (/font$/.test(name) && typeof value.color === "string") value.color = readable(value.color, ground, ink);
      recolor(value, ground, ink);
    }
  };

  // figures ------------------------------------------------------------------------------------------------------
  const holders = [...document.querySelectorAll(".figure")];
  const stored = new Map(holders.map(holder => [holder, document.getElementById(`${holder.id}-data`).textContent]));
  const shown = new Map();

  function draw(holder, printed = false) {
    const figure = JSON.parse(stored.get(holder));
    const frame = (figure.frames || [])[shown.get(holder) ?? (figure.frames || []).length - 1];
    const data = (frame && frame.data) || figure.data;
    const layout = {...figure.layout, ...(frame && frame.layout)};
    const [ground, ink] = dark.matches && !printed ? ["#14161a", "#e0e2e5"] : ["#ffffff", "#33363c"];
    layout.font = {...layout.font, color: ink, size: printed ? 10 : innerWidth < 640 ? 11 : 13};
    recolor(layout, ground, ink);
    data.forEach(trace => recolor(trace, ground, ink));
    if (printed) {
      layout.width = holder.closest(".part") ? PAPER.narrow : PAPER.wide;
      layout.height = PAPER.height * parseFloat(holder.style.getPropertyValue("--height"));
    } else if (coarse.matches) layout.dragmode = false; // a finger scrolls the page
    const how = {responsive: !printed, displayModeBar: false, scrollZoom: false};
    if (printed) Plotly.purge(holder);
    Plotly.react(holder, data, layout, how);
    if (frame) document.getElementById(`${holder.id}-frame`).textContent = frame.name;
  }
  const drawAll = printed => holders.forEach(holder => draw(holder, printed));

  for (const input of document.querySelectorAll("input[data-frames]")) {
    const holder = document.getElementById(input.dataset.frames);
    input.addEventListener("input", () => {
      shown.set(holder, Number(input.value));
      draw(holder);
    });
  }
  dark.addEventListener("change", () => drawAll(false));
  addEventListener("beforeprint", () => drawAll(true));
  addEventListener("afterprint", () => {
    holders.forEach(holder => Plotly.purge(holder));
    drawAll(false);
  });
  drawAll(false);

  // copying ------------------------------------------------------------------------------------------------------
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // not allowed in a frame, and not known to old browsers
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  const tabbed = table => [...table.rows]
    .map(row => [...row.cells].map(cell => cell.textContent.trim()).join("\t"))
    .join("\n");
  for (const button of document.querySelectorAll(".copy")) {
    const label = button.textContent;
    button.addEventListener("click", async () => {
      const {code, table, text} = button.dataset;
      await copy(code ?? (table ? tabbed(document.getElementById(table)) : document.getElementById(text).textContent));
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
  }

  // sorting ------------------------------------------------------------------------------------------------------
  const number = text => text === "∞" ? Infinity : parseFloat(text.replaceAll(",", "").replace("−", "-"));
  for (const head of document.querySelectorAll("th[aria-sort]")) {
    head.firstElementChild.addEventListener("click", () => {
      const body = head.closest("table").tBodies[0];
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[head.cellIndex].textContent;
      const compare = head.classList.contains("number")
        ? (one, other) => {
          const [a, b] = [number(key(one)), number(key(other))];
          if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // unknown ones last
          return up ? a - b : b - a;
        }
        : (one, other) => (up ? 1 : -1) * key(one).localeCompare(key(other));
      body.append(...[...body.rows].sort(compare));
    });
  }
})();
