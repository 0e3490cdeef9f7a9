// What a reader sees of a page, measured: texts with their boxes, overlaps, contrasts, what can be reached.
(() => {
  const LEAST = 2; // px that two boxes may share: rounding

  const visible = element => element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})
    && getComputedStyle(element).clipPath === "none";

  // A part of a box that its scrolling parents show.
  function clipped(box, element) {
    let {left, top, right, bottom} = box;
    for (let parent = element; parent; parent = parent.parentElement) {
      if (!["auto", "scroll", "hidden"].includes(getComputedStyle(parent).overflowX)) continue;
      if (parent === document.body || parent === document.documentElement) continue;
      const seen = parent.getBoundingClientRect();
      left = Math.max(left, seen.left); top = Math.max(top, seen.top);
      right = Math.min(right, seen.right); bottom = Math.min(bottom, seen.bottom);
    }
    return {left, top, right, bottom};
  }

  function texts() {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode, parent = node.parentElement;
      if (!node.data.trim() || parent.closest("svg, script, style, noscript") || !visible(parent)) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const line of range.getClientRects()) {
        const inset = 0.18 * line.height; // of a line's box, letters leave so much free above and below
        const box = clipped({left: line.left, right: line.right, top: line.top + inset, bottom: line.bottom - inset}, parent);
        found.push({text: node.data.trim(), element: parent, of: parent, box});
      }
    }
    for (const text of document.querySelectorAll("svg text")) {
      if (!text.textContent.trim() || !visible(text)) continue;
      const box = text.getBoundingClientRect();
      const inset = 0.18 * Math.min(box.height, box.width);
      found.push({
        text: text.textContent.trim(), element: text, of: text.closest(".figure"),
        box: {left: box.left + inset / 2, right: box.right - inset / 2, top: box.top + inset, bottom: box.bottom - inset},
      });
    }
    return found.filter(({box}) => box.right - box.left > LEAST && box.bottom - box.top > LEAST);
  }

  function overlaps() {
    const all = texts(), found = [];
    for (const [place, one] of all.entries()) {
      for (const other of all.slice(place + 1)) {
        const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
        const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
        if (wide <= LEAST || high <= LEAST) continue;
        const figure = [one, other].map(({of}) => of && of.id).filter(Boolean)[0] || "";
        found.push(`${figure}: '${one.text.slice(0, 40)}' and '${other.text.slice(0, 40)}' share ${wide.toFixed(0)} × ${high.toFixed(0)} px`);
      }
    }
    return found;
  }

  function numbers(color) {
    const parts = (color.match(/[\d.]+/g) || []).map(Number);
    return parts.length === 3 ? [...parts, 1] : parts;
  }
  const over = ([r, g, b, alpha], ground) => [r, g, b].map((part, place) => alpha * part + (1 - alpha) * ground[place]);
  const luminance = color => color
    .map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);

  function ground(element) {
    for (let parent = element; parent; parent = parent.parentElement) {
      const color = numbers(getComputedStyle(parent).backgroundColor);
      if (color[3] === 1) return color.slice(0, 3);
    }
    return [255, 255, 255];
  }

  function faint(least) {
    const found = new Map();
    for (const {text, element} of texts()) {
      const style = getComputedStyle(element), svg = element.closest("svg");
      const behind = ground(svg ? svg.closest(".figure") : element);
      const color = numbers(svg ? style.fill : style.color);
      let opacity = color[3] * (svg ? parseFloat(style.fillOpacity) : 1);
      for (let parent = element; parent; parent = parent.parentElement) opacity *= parseFloat(getComputedStyle(parent).opacity);
      const [low, high] = [luminance(over([...color.slice(0, 3), opacity], behind)), luminance(behind)].sort((a, b) => a - b);
      const contrast = (high + 0.05) / (low + 0.05);
      if (contrast < least) found.set(text, `'${text.slice(0, 40)}' has contrast ${contrast.toFixed(2)}`);
    }
    return [...found.values()];
  }

  function outside() {
    const width = document.documentElement.clientWidth;
    return texts()
      .filter(({box}) => box.right > width + 1 || box.left < -1)
      .map(({text}) => text.slice(0, 60));
  }

  window.looks = {overlaps, faint, outside, texts: () => texts().length};
})();
