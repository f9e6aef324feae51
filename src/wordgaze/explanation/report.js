"use strict";
document.getElementById("unscripted").remove();  // <noscript> says nothing where a policy stops scripts
const LONGEST = 640;  // pixels of a smooth map, which shows no more when it has more
const bytes = text => Uint8Array.from(atob(text), character => character.charCodeAt(0));
const read = element => JSON.parse(element.textContent);
const page = read(document.getElementById("page"));
const colorMaps = Object.fromEntries(Object.entries(page.colors).map(([name, text]) => [name, bytes(text)]));
const look = { colors: Object.keys(colorMaps)[0], opacity: page.opacity, smooth: true };

// Cubic convolution (Keys 1981) between the centers of the patches: for each pixel, which cells count how much.
function weights(pixels, size, start, stop, cells) {
  const near = t => (1.5 * t - 2.5) * t * t + 1, far = t => ((-.5 * t + 2.5) * t - 4) * t + 2;
  const cubic = t => t < 1 ? near(t) : t < 2 ? far(t) : 0;
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = ((pixel + .5) * size / pixels - start) * cells / (stop - start);
    if (at < 0 || at >= cells) return [];
    const taps = [];
    let sum = 0;
    for (let cell = Math.max(0, Math.floor(at - 2)); cell < Math.min(cells, at + 2); cell++) {
      const weight = cubic(Math.abs(at - .5 - cell));
      sum += weight;
      if (weight) taps.push([cell, weight]);
    }
    return taps.map(([cell, weight]) => [cell, weight / sum]);
  });
}

// Words that the model has no skill to place are painted in gray and at half strength.
const colorsOf = word => colorMaps[word.grounded ? look.colors : "gray"];
const opacityOf = word => look.opacity * (word.grounded ? 1 : page.ungrounded);

function paintSmooth(canvas, photo, box, word) {
  const [rows, columns] = word.grid, values = bytes(word.map), colors = colorsOf(word), opacity = opacityOf(word);
  const scale = Math.min(1, LONGEST / Math.max(...photo));
  const [width, height] = photo.map(side => Math.max(1, Math.round(side * scale)));
  [canvas.width, canvas.height] = [width, height];
  const across = weights(width, photo[0], box[0], box[2], columns);
  const down = weights(height, photo[1], box[1], box[3], rows);
  const wide = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++)
    for (let x = 0; x < width; x++)
      for (const [cell, weight] of across[x]) wide[row * width + x] += weight * values[row * columns + cell];
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at += 4) {
      let value = 0;
      for (const [cell, weight] of down[y]) value += weight * wide[cell * width + x];
      const strength = Math.round(Math.min(255, Math.max(0, value)));
      image.data[at] = colors[3 * strength];
      image.data[at + 1] = colors[3 * strength + 1];
      image.data[at + 2] = colors[3 * strength + 2];
      image.data[at + 3] = strength * opacity;
    }
  context.putImageData(image, 0, 0);
}

// A pixel belongs to the patch that its center lies in.
function paintPatches(canvas, photo, box, word) {
  const [rows, columns] = word.grid, values = bytes(word.map), colors = colorsOf(word), opacity = opacityOf(word);
  [canvas.width, canvas.height] = photo;
  const edge = (start, stop, cells, cell) => Math.ceil(start + (stop - start) * cell / cells - .5);
  const context = canvas.getContext("2d");
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const strength = values[row * columns + column], [red, green, blue] = colors.subarray(3 * strength);
      const left = edge(box[0], box[2], columns, column), right = edge(box[0], box[2], columns, column + 1);
      const top = edge(box[1], box[3], rows, row), bottom = edge(box[1], box[3], rows, row + 1);
      context.fillStyle = `rgb(${red} ${green} ${blue} / ${strength / 255 * opacity})`;
      context.fillRect(left, top, right - left, bottom - top);
    }
}

// Darkens what the model was not shown, which has no map.
function shadeUnseen(canvas, photo, [left, top, right, bottom]) {
  const context = canvas.getContext("2d"), across = canvas.width / photo[0], down = canvas.height / photo[1];
  context.fillStyle = "rgb(0 0 0 / .45)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(left * across, top * down, (right - left) * across, (bottom - top) * down);
  context.fill("evenodd");
}

// One photo with its captions; returns what the rest of the page may ask of it.
function viewer(article) {
  const data = read(article.querySelector("script")), figure = article.querySelector("figure");
  const canvas = figure.querySelector("canvas"), image = figure.querySelector("img");
  const photo = [+image.getAttribute("width"), +image.getAttribute("height")];
  const facts = article.querySelector(".facts"), hint = facts.textContent;
  const captions = [...article.querySelectorAll(".words")].map(line => [...line.querySelectorAll("button")]);
  let buttons = captions[0], words = data.captions[0];
  let chosen = -1, shown = -1;  // chosen: the word that was tapped, or reached by keyboard
  const firstGrounded = () => words.findIndex(word => word.grounded);

  const paint = () => {
    if (shown < 0) return;
    (look.smooth ? paintSmooth : paintPatches)(canvas, photo, data.box, words[shown]);
    shadeUnseen(canvas, photo, data.box);
  };
  const show = index => {
    if (index === shown) return;
    shown = index;
    buttons.forEach((button, i) => {
      button.classList.toggle("shown", i === index);
      button.style.setProperty("--read", index < 0 ? 0 : words[index].attention[i] ?? 0);
    });
    figure.classList.toggle("looking", index >= 0);
    facts.textContent = index < 0 ? hint : buttons[index].dataset.facts;
    paint();
  };
  const choose = index => {
    chosen = index;
    buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", i === index);
      button.tabIndex = i === Math.max(0, index) ? 0 : -1;  // one stop for Tab a caption
    });
    show(index);
  };
  const go = index => {
    choose(index);
    buttons[index].focus();
  };

  captions.forEach(line => line.forEach((button, index) => {
    button.tabIndex = index ? -1 : 0;
    button.addEventListener("pointerenter", event => event.pointerType === "mouse" && show(index));
    button.addEventListener("click", () => choose(chosen === index ? -1 : index));
    button.addEventListener("focus", () => button.matches(":focus-visible") && choose(index));
    button.addEventListener("keydown", event => {
      const last = buttons.length - 1;
      const before = Math.max(0, index - 1), after = Math.min(last, index + 1);
      const next = { ArrowRight: after, ArrowDown: after, ArrowLeft: before, ArrowUp: before, Home: 0, End: last };
      if (event.key === "Escape") choose(-1);
      if (!(event.key in next) || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      go(next[event.key]);
    });
  }));
  // From word to word the map stays, so that the photo does not flash between them.
  for (const line of article.querySelectorAll(".words"))
    line.addEventListener("pointerleave", event => event.pointerType === "mouse" && show(chosen));
  article.querySelectorAll(".captions input").forEach((input, index) => input.addEventListener("change", () => {
    choose(-1);
    article.querySelectorAll(".words").forEach((line, i) => { line.hidden = i !== index; });
    [buttons, words] = [captions[index], data.captions[index]];
    choose(firstGrounded());
  }));
  const enlarge = article.querySelector(".enlarge");
  enlarge?.addEventListener("click", () => {
    const large = article.classList.toggle("large");
    enlarge.textContent = large ? "Smaller" : "Larger";
    article.scrollIntoView({ block: "nearest" });
  });
  const step = by => {
    if (!buttons.length) return;
    go(chosen < 0 ? Math.max(0, firstGrounded()) : Math.min(buttons.length - 1, Math.max(0, chosen + by)));
  };
  return { article, paint, step, open: () => choose(firstGrounded()) };
}

const viewers = [...document.querySelectorAll("article")].map(viewer);

// Bars are set here, since the page's policy lets no style stand in an attribute.
for (const bar of document.querySelectorAll("[data-share]")) bar.style.setProperty("--share", bar.dataset.share);

const legend = document.querySelector(".legend canvas");
function drawLegend() {
  const ramp = { grid: [1, 256], map: btoa(String.fromCharCode(...Array(256).keys())), grounded: true };
  paintPatches(legend, [256, 1], [0, 0, 256, 1], ramp);
}
document.querySelector(".controls").addEventListener("input", ({ target }) => {
  if (target.name === "colors") look.colors = target.value;
  if (target.name === "opacity") look.opacity = target.value / 100;
  if (target.name === "cells") look.smooth = target.value === "smooth";
  drawLegend();
  for (const { paint } of viewers) paint();
});
drawLegend();

// The page opens with a map; in a gallery the other photos stay photos.
viewers[0]?.open();

// An arrow key that goes to no word yet goes on from the chosen one of the first photo in sight.
document.addEventListener("keydown", event => {
  if (document.activeElement !== document.body || !["ArrowRight", "ArrowLeft"].includes(event.key)) return;
  const inSight = viewers.find(({ article }) => article.getBoundingClientRect().bottom > innerHeight / 3);
  event.preventDefault();
  (inSight ?? viewers[0]).step(event.key === "ArrowRight" ? 1 : -1);
});

if (window.parent !== window) {
  document.documentElement.classList.add("embedded");
  const frame = window.frameElement;  // null if the page around it is from elsewhere
  if (frame) new ResizeObserver(() => { frame.style.height = `${document.body.offsetHeight}px`; }).observe(document.body);
}
