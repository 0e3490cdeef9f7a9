"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 599px)");
  const coarse = matchMedia("(pointer: coarse)");
  const PAPER = {whole: 1060, half: 580}; // px between the margins of A4, as page.css zooms it

  // figures ------------------------------------------------------------------------------------------------------
  const holders = [...document.querySelectorAll(".figure")];
  const stored = new Map(holders.map(holder => [holder, document.getElementById(`${holder.id}-data`).textContent]));
  const shown = new Map();
  const onDark = Object.entries(JSON.parse(document.getElementById("on-dark").textContent));
  const lit = text => onDark.reduce((all, [color, lighter]) => all.replaceAll(color, lighter), text);

  const merged = (one, other) => {
    if (other === null || typeof other !== "object" || Array.isArray(other)) return other;
    const all = {...(one || {})};
    for (const [name, value] of Object.entries(other)) all[name] = merged(all[name], value);
    return all;
  };

  function draw(holder, printed = false) {
    if (holder.offsetParent === null) return; // not on paper
    const isDark = dark.matches && !printed;
    const figure = JSON.parse(isDark ? lit(stored.get(holder)) : stored.get(holder));
    const frames = figure.frames || [];
    const frame = frames[shown.get(holder) ?? frames.length - 1];
    const data = figure.data.map((trace, place) => ({...trace, ...(frame ? frame.data[place] : {})}));
    let layout = merged(figure.layout, (frame && frame.layout) || {});
    const half = printed && holder.closest(".part") !== null;
    if (printed ? half : narrow.matches) layout = merged(layout, (layout.meta || {}).narrow || {});
    layout.font = {...layout.font, color: isDark ? "#e2e4e7" : "#33363c"};
    layout.height ??= parseFloat(holder.style.getPropertyValue("--height"));
    holder.style.setProperty("--height", `${layout.height}px`);
    if (printed) layout.width = half ? PAPER.half : PAPER.whole;
    if (coarse.matches) layout.dragmode = false; // a finger scrolls the page
    const how = {responsive: !printed, displayModeBar: false, scrollZoom: false};
    Plotly.react(holder, data, layout, how);
    if (frame) {
      document.getElementById(`${holder.id}-frame`).textContent = frame.layout.meta.says;
      document.querySelector(`[data-frames=${holder.id}]`).ariaValueText = frame.name;
    }
  }
  const drawAll = printed => holders.forEach(holder => draw(holder, printed));

  for (const input of document.querySelectorAll("input[data-frames]")) {
    const holder = document.getElementById(input.dataset.frames);
    input.addEventListener("input", () => {
      shown.set(holder, Number(input.value));
      draw(holder);
    });
  }
  const drawAnew = printed => {
    holders.forEach(holder => Plotly.purge(holder)); // it keeps the size that it was first given
    drawAll(printed);
  };
  dark.addEventListener("change", () => drawAll(false));
  narrow.addEventListener("change", () => drawAnew(false));
  addEventListener("beforeprint", () => drawAnew(true));
  addEventListener("afterprint", () => drawAnew(false));
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
