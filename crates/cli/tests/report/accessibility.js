// What a page must have for everybody to use it; an empty list means that nothing is missing.
(() => {
  const found = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const isSeen = (it) => it.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const outline = (it) => it.outerHTML.slice(0, 120);

  if (!document.documentElement.lang) found.push("no lang");
  if (!document.title.trim()) found.push("no title");
  if (all("main").length !== 1) found.push("not one main");
  if (all("h1").length !== 1) found.push("not one h1");
  if (!document.querySelector("meta[name=viewport]")) found.push("no viewport");

  let level = 0;
  for (const it of all("h1, h2, h3, h4, h5, h6")) {
    const own = Number(it.tagName[1]);
    if (own > level + 1) found.push(`heading skips a level: ${outline(it)}`);
    if (!it.textContent.trim()) found.push(`empty heading: ${outline(it)}`);
    level = own;
  }

  const ids = new Map();
  for (const it of all("[id]")) ids.set(it.id, (ids.get(it.id) || 0) + 1);
  // plotly's definitions are not referred to from outside of their drawing.
  for (const [id, count] of ids) if (count > 1 && !document.querySelector(`svg [id="${CSS.escape(id)}"]`)) found.push(`id twice: ${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls"]) {
    for (const it of all(`[${name}]`)) {
      for (const id of it.getAttribute(name).split(/\s+/)) if (!ids.has(id)) found.push(`${name} leads nowhere: ${id}`);
    }
  }
  for (const it of all("a[href^='#']")) if (!ids.has(it.getAttribute("href").slice(1))) found.push(`way leads nowhere: ${outline(it)}`);

  const nameOf = (it) => (it.getAttribute("aria-label") || it.textContent || it.getAttribute("title") || "").trim();
  for (const it of all("button, a[href], summary, [role=img], [role=region], [role=group], nav")) {
    if (!isSeen(it)) continue;
    if (!nameOf(it) && !it.hasAttribute("aria-labelledby")) found.push(`no name: ${outline(it)}`);
  }
  for (const it of all("img")) if (!it.hasAttribute("alt")) found.push(`no name: ${outline(it)}`);
  for (const it of all("svg")) {
    if (!it.closest("[aria-hidden=true], [role=img]") && !it.hasAttribute("aria-label")) found.push(`no name: ${outline(it)}`);
  }
  for (const it of all("input, select, textarea")) if (!it.labels.length && !it.hasAttribute("aria-label")) found.push(`no label: ${outline(it)}`);
  for (const it of all("[aria-pressed]")) if (!["true", "false"].includes(it.getAttribute("aria-pressed"))) found.push(`aria-pressed: ${outline(it)}`);
  for (const it of all("[tabindex]")) if (Number(it.getAttribute("tabindex")) > 0) found.push(`tabindex above 0: ${outline(it)}`);
  for (const it of all("[aria-hidden=true]")) if (it.querySelector("a[href], button, [tabindex='0']")) found.push(`hidden, and has the focus: ${outline(it)}`);

  for (const it of all("table")) {
    if (!it.querySelector("th[scope]")) found.push(`no headings in a table: ${outline(it)}`);
    for (const th of it.querySelectorAll("th")) if (!th.textContent.trim()) found.push(`empty heading: ${outline(it)}`);
    if (!it.caption) found.push(`no caption: ${outline(it)}`);
  }
  for (const it of all("figure.chart")) {
    if (!it.querySelector("table") && !it.querySelector("figcaption").textContent.trim()) found.push(`no text for a chart: ${it.id}`);
  }
  const landmarks = all("section[aria-labelledby], [role=region], nav, figure[aria-labelledby]").map((it) =>
    it.getAttribute("aria-label") || (document.getElementById(it.getAttribute("aria-labelledby")) || it).textContent.trim());
  for (const name of landmarks) if (landmarks.indexOf(name) !== landmarks.lastIndexOf(name)) found.push(`two landmarks of one name: ${name}`);
  for (const it of all("*")) {
    const scrolls = it.scrollWidth > it.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(it).overflowX);
    if (scrolls && isSeen(it) && it.tabIndex < 0) found.push(`scrolls, but not with the keyboard: ${outline(it)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth + 1) found.push(`wider than its window: ${document.documentElement.scrollWidth} > ${innerWidth}`);
  for (const it of all("button, summary, nav a")) {
    const box = it.getBoundingClientRect();
    if (isSeen(it) && box.width > 0 && (box.width < 20 || box.height < 20)) found.push(`too small to hit: ${outline(it)} ${box.width}x${box.height}`);
  }

  // Any colour of CSS as numbers, by way of a canvas.
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const numbers = (colour) => {
    if (!known.has(colour)) {
      brush.clearRect(0, 0, 1, 1);
      brush.fillStyle = colour;
      brush.fillRect(0, 0, 1, 1);
      known.set(colour, [...brush.getImageData(0, 0, 1, 1).data].map((it) => it / 255));
    }
    return known.get(colour);
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = (it) => {
    if (!it) return numbers("Canvas").slice(0, 3);
    const own = numbers(getComputedStyle(it).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, ground(it.parentElement));
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const judged = new Set();
  while (walker.nextNode()) {
    const it = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || judged.has(it) || !isSeen(it) || it.closest("script, style, noscript, .unseen")) continue;
    judged.add(it);
    const style = getComputedStyle(it);
    const below = ground(it.closest("svg") ? it.closest("svg").parentElement : it);
    const ink = over(numbers(it.closest("svg") ? style.fill : style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < (isLarge ? 3 : 4.5)) found.push(`contrast ${contrast.toFixed(2)}: ${outline(it)}`);
  }
  return found;
})()
